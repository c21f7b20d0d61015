package server_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// config serves the shipped model on free ports of localhost.
func config() server.Config {
	cfg := server.Default(2)
	cfg.ModelsDir = digitsDir
	cfg.Addr, cfg.GRPCAddr, cfg.MetricsAddr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return cfg
}

// startServer starts and warms a server.
func startServer(t testing.TB, change func(*server.Config)) *server.Server {
	t.Helper()
	cfg := config()
	change(&cfg)
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// slowLoad is a runtime whose loading waits for a signal.
type slowLoad struct {
	runtime.Runtime
	gate chan struct{}
}

func (r slowLoad) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	<-r.gate
	return r.Runtime.Load(ctx, m, opts)
}

func status(t *testing.T, s *server.Server, path string) int {
	t.Helper()
	resp, err := http.Get("http://" + s.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestLiveAtOnceReadyWhenWarm(t *testing.T) {
	cfg := config()
	gate := make(chan struct{})
	cfg.Runtime = slowLoad{fake.New(fake.Config{Instant: true}), gate}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	warm := make(chan error, 1)
	go func() { warm <- s.Warm(t.Context()) }()
	if live, ready := status(t, s, "/v2/health/live"), status(t, s, "/v2/health/ready"); live != 200 || ready != 503 {
		t.Errorf("while loading: live %d, ready %d", live, ready)
	}
	if infer := status(t, s, "/v2/models/digits"); infer != 503 {
		t.Errorf("while loading a model answers %d", infer)
	}
	close(gate)
	if err := <-warm; err != nil {
		t.Fatal(err)
	}
	if ready := status(t, s, "/v2/health/ready"); ready != 200 {
		t.Errorf("when warm: ready %d", ready)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := net.DialTimeout("tcp", s.Addr().String(), time.Second); err == nil {
		t.Error("still listening after the shutdown")
	}
}

func TestShutdownWithoutWarm(t *testing.T) {
	s, err := server.New(config())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMistakesAreToldBeforeAnythingRuns(t *testing.T) {
	cases := []struct {
		name   string
		change func(*server.Config)
		kind   slo.Kind
		says   string
	}{
		{"no directory", func(c *server.Config) { c.ModelsDir = "" }, slo.KindInvalid, "no model directory"},
		{"no instances", func(c *server.Config) { c.Instances = 0 }, slo.KindInvalid, "instances is 0"},
		{"empty directory", func(c *server.Config) { c.ModelsDir = t.TempDir() }, slo.KindNotFound, "mosel.yaml"},
		{"unknown package", func(c *server.Config) { c.ModelsDir, c.Only = "../../models", []string{"nosuch"} }, slo.KindNotFound, "nosuch"},
		{"unknown profile", func(c *server.Config) { c.Device = "abacus" }, slo.KindNotFound, "abacus"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config()
			tc.change(&cfg)
			_, err := server.New(cfg)
			if err == nil || slo.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v of kind %v, want %v saying %q", err, slo.KindOf(err), tc.kind, tc.says)
			}
		})
	}
}

func TestTwoPackagesOfOneNameAreRefusedIfStrict(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		abs, err := filepath.Abs(digitsDir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(abs, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	cfg := config()
	cfg.ModelsDir, cfg.Strict = dir, true
	if _, err := server.New(cfg); err == nil || !strings.Contains(err.Error(), "digits") {
		t.Errorf("two models named digits: %v", err)
	}
}

func TestPortInUseSaysWhatToDo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := config()
	cfg.Addr = l.Addr().String()
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err == nil || !strings.Contains(err.Error(), "--addr") {
		t.Errorf("listening on a port in use: %v", err)
	}
}

// TestRealModelOverHTTP runs the shipped graphs in ONNX Runtime on held-out samples,
// with floors from none to the best: expected accuracies must keep the floors, and most
// answers must be right.
func TestRealModelOverHTTP(t *testing.T) {
	rt, err := ort.Open(t.Context(), ort.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t, func(cfg *server.Config) { cfg.Runtime = rt })
	m := s.Served()[0].Model
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New("http://"+s.Addr().String(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	right, n := 0, 60
	for i := range n {
		r := request(m, set.Item(i))
		r.MinAccuracy = []float64{0, 0.9, 0.97}[i%3]
		answer, err := c.Infer(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if answer.ExpectedAccuracy < r.MinAccuracy {
			t.Errorf("floor %v, expected accuracy %v", r.MinAccuracy, answer.ExpectedAccuracy)
		}
		label, _, err := modelpkg.BestClass(answer.Outputs[0], 0)
		if err != nil {
			t.Fatal(err)
		}
		if label == set.Labels.Class(i) {
			right++
		}
	}
	if right < n*8/10 {
		t.Errorf("%d of %d right", right, n)
	}
	strange := tensor.Tensor{Name: "text", DType: tensor.Uint8, Shape: tensor.Shape{1, 12}, Data: bytes.Repeat([]byte{255}, 12)}
	if _, err := c.Infer(t.Context(), client.Request{Model: "digits", Inputs: []tensor.Tensor{strange}}); err != nil {
		t.Errorf("codes that are no letters: %v", err)
	}
	_, err = c.Infer(t.Context(), client.Request{Model: "nosuch"})
	if ce := new(client.Error); !errors.As(err, &ce) || ce.Status != http.StatusNotFound {
		t.Errorf("unknown model: %v", err)
	}
	if err := s.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
}
