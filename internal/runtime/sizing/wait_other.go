//go:build !linux

package sizing

import "time"

// threadWaited is known on Linux only.
func threadWaited() time.Duration { return 0 }
