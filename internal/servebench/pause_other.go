//go:build !linux

package main

import "time"

// pause waits. Where that is late, the latencies of all servers are longer by it.
func pause(d time.Duration) { time.Sleep(d) }
