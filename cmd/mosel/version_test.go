package main

import (
	"encoding/json"
	"errors"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionOf(t *testing.T) {
	const commit = "5bbaeed4701234567890abcdef01234567890abc"
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.time", Value: "2026-11-27T04:38:13Z"}}
	changed := append([]debug.BuildSetting{{Key: "vcs.modified", Value: "true"}}, vcs...)
	for _, c := range []struct {
		main     string
		settings []debug.BuildSetting
		say      string
	}{
		{"v1.2.3", nil, "mosel v1.2.3 (go"},
		{"v1.2.4-0.20261127043813-5bbaeed47012", nil, "mosel v1.2.4-0.20261127043813-5bbaeed47012 (commit 5bbaeed47012, 2026-11-27, go"},
		{"v0.0.0-20261127043813-5bbaeed47012+dirty", changed, "(commit 5bbaeed47012 with changes, 2026-11-27, go"},
		{"(devel)", vcs, "mosel devel (commit 5bbaeed47012, 2026-11-27, go"},
		{"(devel)", nil, "mosel devel (go"},
		{"", nil, "mosel devel (go"},
	} {
		got := versionOf(&debug.BuildInfo{Main: debug.Module{Version: c.main}, Settings: c.settings})
		if !strings.Contains(got.String(), c.say) {
			t.Errorf("%q: %s, want %s", c.main, got, c.say)
		}
	}
}

func TestVersionIsPrinted(t *testing.T) {
	for _, args := range [][]string{{"--version"}, {"version"}} {
		if out, err := command(t, args...); err != nil || out != thisVersion().String()+"\n" {
			t.Errorf("%q: %q, %v", args, out, err)
		}
	}
	out, err := command(t, "version", "--json")
	var v version
	if err != nil || json.Unmarshal([]byte(out), &v) != nil || v != thisVersion() {
		t.Errorf("%q, %v", out, err)
	}
}

func TestUnknownCommands(t *testing.T) {
	_, err := command(t, "serv")
	if err == nil || !strings.Contains(err.Error(), "serve") || !errors.As(err, new(usageError)) {
		t.Errorf("%v", err)
	}
	_, err = command(t, "frobnicate")
	if err == nil || !strings.Contains(err.Error(), "--help") || !errors.As(err, new(usageError)) {
		t.Errorf("%v", err)
	}
}
