package modelpkg

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
)

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

// TestTooManyOpenFiles reads the good package in a process that may open no more files.
// It lowers the limit of its own process, so it must not run in parallel.
func TestTooManyOpenFiles(t *testing.T) {
	dir := writePackage(t)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Skip(err)
	}
	probe, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	next := uint64(probe.Fd())
	if err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	hits := 0
	for extra := range uint64(3) { // the directory, mosel.yaml, a graph
		limit := before
		limit.Cur = next + extra
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Skip(err)
		}
		_, err := Load(dir)
		problems := Check(dir)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
		if err == nil {
			continue // enough, if lower descriptors were freed
		}
		hits++
		if !errors.Is(err, syscall.EMFILE) || !IsSystemFault(err) || slo.KindOf(err) != slo.KindUnavailable {
			t.Errorf("%d files more: kind %v: %v", extra, slo.KindOf(err), err)
		}
		if len(problems) != 1 || problems[0].Line != 0 || problems[0].Message[:24] != "it cannot be read now: o" {
			t.Errorf("%d files more: %v", extra, problems)
		}
	}
	if hits == 0 {
		t.Error("the limit was never felt")
	}
	if _, err := Load(dir); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestTooManyOpenFilesForAProfile checks that a profile that cannot be read now is not
// reported as missing.
func TestTooManyOpenFilesForAProfile(t *testing.T) {
	m, err := Load(filepath.FromSlash("../../models/digits"))
	if err != nil {
		t.Fatal(err)
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Skip(err)
	}
	none := before
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Skip(err)
	}
	_, err = FindProfile(m, "")
	_, named := FindProfile(m, "cpu")
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{err, named} {
		if !errors.Is(err, syscall.EMFILE) || slo.KindOf(err) != slo.KindUnavailable {
			t.Errorf("kind %v: %v", slo.KindOf(err), err)
		}
	}
}
