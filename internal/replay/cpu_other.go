//go:build !unix

package replay

import "time"

// processCPU is not known here; reports then say 0.
func processCPU() time.Duration { return 0 }
