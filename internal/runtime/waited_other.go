//go:build !linux

package runtime

import "time"

// Waited is known on Linux only.
func Waited() time.Duration { return 0 }
