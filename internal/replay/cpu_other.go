//go:build !unix

package replay

import "time"

// ProcessCPU is not known here; reports then say 0.
func ProcessCPU() time.Duration { return 0 }
