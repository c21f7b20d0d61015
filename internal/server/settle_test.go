package server

import (
	"os"
	"runtime"
	"strings"
	"testing"
)

// TestReleaseCode gives pages back while other code runs.
func TestReleaseCode(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Linux only")
	}
	mapped := func() string {
		text, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "RssFile:")
		line, _, _ := strings.Cut(rest, "\n")
		return strings.TrimSpace(line)
	}
	before := mapped()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			_ = strings.Repeat(strings.ToUpper("abc"), 100)
			runtime.Gosched()
		}
	}()
	for range 5 {
		releaseCode()
	}
	<-done
	t.Logf("%s before, %s after", before, mapped())
}
