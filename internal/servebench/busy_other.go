//go:build !linux

package main

import "time"

// busyTime is not known here: every round counts as quiet.
func busyTime() time.Duration { return 0 }

// waitedTime is not known here.
func waitedTime() time.Duration { return 0 }
