package server_test

import (
	"context"
	"errors"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/internal/slo"
)

// deafLoad is a runtime whose loading hangs and ignores its context, as C code does.
type deafLoad struct {
	runtime.Runtime
	began, gate chan struct{}
}

func (r deafLoad) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	select {
	case r.began <- struct{}{}:
	default: // it was signalled before
	}
	<-r.gate
	return r.Runtime.Load(ctx, m, opts)
}

// TestShutdownWhileLoadingHangs shuts down a server whose runtime hangs while loading.
// Shutdown must return and say what hangs.
func TestShutdownWhileLoadingHangs(t *testing.T) {
	leavesNothing(t)
	cfg := config()
	loading, gate := make(chan struct{}, 1), make(chan struct{})
	cfg.Runtime = deafLoad{fake.New(fake.Config{Instant: true}), loading, gate}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	warm := make(chan error, 1)
	go func() { warm <- s.Warm(t.Context()) }()
	<-loading
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "loading model digits") {
		t.Errorf("it does not say what hangs: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v, with nothing to wait for", took)
	}
	if err := <-warm; slo.KindOf(err) != slo.KindUnavailable {
		t.Errorf("Warm: %v", err)
	}
	close(gate)
}

// TestShutdownWithARunThatHangs has a run that nothing ends. Its client is told over
// both transports that the server stops, and Shutdown returns soon after its limit.
func TestShutdownWithARunThatHangs(t *testing.T) {
	leavesNothing(t)
	gate := make(chan struct{})
	running, warm := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := startServer(t, func(cfg *server.Config) {
		cfg.Instances = 1
		cfg.Runtime = fake.New(fake.Config{Instant: true, HangRun: func(fake.Run) <-chan struct{} {
			select {
			case <-warm:
				once.Do(func() { close(running) })
				return gate
			default:
				return nil
			}
		}})
	})
	close(warm)
	m := s.Served()[0].Model
	seen := make(chan error, 2)
	for _, addr := range []string{"http://" + s.Addr().String(), "grpc://" + s.GRPCAddr().String()} {
		c, err := client.New(addr, client.Options{GRPC: clientgrpc.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() {
			_, err := c.Infer(t.Context(), plainRequest(m))
			seen <- err
		}()
	}
	<-running
	for late := time.Now().Add(10 * time.Second); s.Counts().Jobs < 2 && time.Now().Before(late); {
		goruntime.Gosched()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := s.Shutdown(ctx)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "a batch of model digits") {
		t.Errorf("it does not say what hangs: %v", err)
	}
	for range 2 {
		if err := <-seen; !errors.Is(err, client.ErrUnavailable) || !strings.Contains(err.Error(), "shutting down") {
			t.Errorf("a client is told: %v", err)
		}
	}
	close(gate)
}
