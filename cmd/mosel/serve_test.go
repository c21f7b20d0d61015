package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"runtime"
	"testing"
)

func TestLogFormat(t *testing.T) {
	var out bytes.Buffer
	log, err := newLog(&out, "json", true)
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("request failed", "job", "17")
	var line struct{ Msg, Job, Level string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "request failed" || line.Job != "17" || line.Level != "DEBUG" {
		t.Errorf("%v, logged %s", err, out.String())
	}
	if _, err := command(t, "serve", "--log-format", "xml"); !errors.As(err, new(usageError)) {
		t.Errorf("an unknown form: %v", err)
	}
}

// TestInstancesFollowTheLimitOnCores: Go knows of a container's limit, of which
// the number of the machine's cores says nothing.
func TestInstancesFollowTheLimitOnCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	if got := serveCommand().Flag("instances").DefValue; got != "3" {
		t.Errorf("%s instances by default on 4 cores, want 3", got)
	}
}
