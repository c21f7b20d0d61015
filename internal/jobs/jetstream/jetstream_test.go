package jetstream

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/mosel-serve/mosel/internal/jobs"
)

// open opens a store and closes it with the test.
func open(t *testing.T, cfg Config) jobs.Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// broker is a NATS server of its own, on loopback.
func broker(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	b, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	b.Start()
	if !b.ReadyForConnections(startTime) {
		t.Fatal("the broker does not start")
	}
	t.Cleanup(func() { b.Shutdown(); b.WaitForShutdown() })
	return b
}

// TestStore checks what package jobs expects of a store, in this process and in a broker.
func TestStore(t *testing.T) {
	for _, where := range []string{"in process", "broker"} {
		t.Run(where, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), Stream: "JOBS", BytesMax: 8 << 20}
			if where == "broker" {
				cfg = Config{URL: broker(t, cfg.Dir, -1).ClientURL(), Stream: "JOBS", BytesMax: 8 << 20}
			}
			s := open(t, cfg)
			ctx := t.Context()
			large := bytes.Repeat([]byte("0123456789abcdef"), jobs.ValueBytesMax/16)
			for _, v := range []struct {
				key  string
				data []byte
				want error
			}{{"spec.a", []byte("one"), nil}, {"spec.a", []byte("two"), jobs.ErrExists}, {"in.a.0", large, nil}, {"in.a.1", nil, nil}, {"in.ab.0", []byte("x"), nil}} {
				if err := s.Create(ctx, v.key, v.data); !errors.Is(err, v.want) {
					t.Errorf("create %s: %v, want %v", v.key, err, v.want)
				}
			}
			if v, err := s.Get(ctx, "spec.a"); string(v) != "one" || err != nil {
				t.Errorf("spec.a is %q, %v", v, err)
			}
			if v, err := s.Get(ctx, "in.a.0"); !bytes.Equal(v, large) || err != nil {
				t.Errorf("in.a.0 has %d bytes, %v", len(v), err)
			}
			if _, err := s.Get(ctx, "spec.b"); !errors.Is(err, jobs.ErrNotFound) {
				t.Errorf("spec.b: %v", err)
			}
			list(t, s, "in.a", "in.a.0", "in.a.1")
			list(t, s, "in", "in.a.0", "in.a.1", "in.ab.0")
			list(t, s, "res")
			if err := s.Delete(ctx, "in.a"); err != nil {
				t.Fatal(err)
			}
			list(t, s, "in", "in.ab.0")
			if err := s.Create(ctx, "in.a.0", []byte("again")); err != nil {
				t.Errorf("a deleted key cannot be created again: %v", err)
			}
			var err error
			for i := 0; err == nil && i < 100; i++ {
				err = s.Create(ctx, fmt.Sprintf("in.c.%d", i), large)
			}
			if !errors.Is(err, jobs.ErrFull) {
				t.Errorf("a full store: %v, want %v", err, jobs.ErrFull)
			}
			if err := s.Delete(ctx, "in.c"); err != nil {
				t.Fatal(err)
			}
			if err := s.Create(ctx, "in.c.0", large); err != nil {
				t.Errorf("a store that is no longer full: %v", err)
			}
		})
	}
}

func list(t *testing.T, s jobs.Store, prefix string, want ...string) {
	t.Helper()
	keys, err := s.List(t.Context(), prefix)
	slices.Sort(keys)
	if err != nil || !slices.Equal(keys, want) {
		t.Errorf("%s has %v (%v), want %v", prefix, keys, err, want)
	}
}

// TestReopen checks that values are there in a later process, and that two cannot use a
// directory at a time.
func TestReopen(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Stream: "JOBS", BytesMax: 8 << 20}
	s := open(t, cfg)
	if err := s.Create(t.Context(), "spec.a", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("a directory in use: %v", err)
	}
	s.Close()
	s = open(t, cfg)
	if v, err := s.Get(t.Context(), "spec.a"); string(v) != "one" || err != nil {
		t.Errorf("spec.a is %q, %v", v, err)
	}
}

// TestUnreachable checks the error of a broker that is not there.
func TestUnreachable(t *testing.T) {
	b := broker(t, t.TempDir(), -1)
	url := strings.Replace(b.ClientURL(), "nats://", "nats://user:secret@", 1)
	b.Shutdown()
	_, err := Open(t.Context(), Config{URL: url, Stream: "JOBS", BytesMax: 1 << 20})
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("the error is %v", err)
	}
}
