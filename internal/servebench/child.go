package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"

	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/server"
)

// The roles of child processes.
const (
	roleMosel = "mosel"
	roleEcho  = "echo"
)

// announcement is a child's message about its addresses.
type announcement struct {
	REST string `json:"rest"`
	GRPC string `json:"grpc"`
}

// usage is a child's use of resources so far.
type usage struct {
	CPU         int64 `json:"cpu_ns"`
	Allocations int64 `json:"allocations"`
	Allocated   int64 `json:"allocated_bytes"`
	Waited      int64 `json:"waited_ns"` // time in which its threads were ready to run and waited for a core
}

// since returns the difference to an earlier usage.
func (u usage) since(before usage) usage {
	return usage{CPU: u.CPU - before.CPU, Allocations: u.Allocations - before.Allocations, Allocated: u.Allocated - before.Allocated,
		Waited: u.Waited - before.Waited}
}

// serve runs a child process: it serves until it is told to end.
func serve(ctx context.Context, o options) error {
	switch o.role {
	case roleMosel:
		return profiled(o.pprof, func() error { return serveMosel(ctx, o.models) })
	case roleEcho:
		return serveEcho(ctx)
	}
	return fmt.Errorf("there is no role %q", o.role)
}

// profiled writes a profile of what run does, if one is wanted.
func profiled(file string, run func() error) error {
	if file == "" {
		return run()
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	err = run()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

// serveMosel serves like `mosel serve`, but with a runtime that answers at once and
// computes nothing.
func serveMosel(ctx context.Context, models string) error {
	cfg := server.Default(runtime.NumCPU())
	cfg.ModelsDir, cfg.Addr, cfg.GRPCAddr, cfg.MetricsAddr = models, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Runtime = fake.New(fake.Config{Instant: true})
	s, err := server.New(cfg)
	if err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	if err := s.Warm(ctx); err != nil {
		return err
	}
	err = answerQuestions(ctx, announcement{REST: s.Addr().String(), GRPC: s.GRPCAddr().String()})
	return errors.Join(err, s.Shutdown(context.WithoutCancel(ctx)))
}

// serveEcho runs the simplest server of each transport: it reads the request completely
// and answers with a fixed number of bytes.
func serveEcho(ctx context.Context) error {
	rest, err := listenHTTP(http.HandlerFunc(echo))
	if err != nil {
		return err
	}
	rpc, err := listenGRPC()
	if err != nil {
		return errors.Join(err, rest.stop())
	}
	return errors.Join(answerQuestions(ctx, announcement{REST: rest.addr, GRPC: rpc.addr}), rpc.stop(), rest.stop())
}

// httpServer serves on a free port until stop.
type httpServer struct {
	addr string
	http *http.Server
	done chan error
}

func listenHTTP(h http.Handler) (*httpServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &httpServer{addr: l.Addr().String(), http: &http.Server{Handler: h}, done: make(chan error, 1)}
	go func() { s.done <- s.http.Serve(l) }()
	return s, nil
}

func (s *httpServer) stop() error {
	err := s.http.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// bodyMax bounds what an echo server reads and answers: more than any load here.
const bodyMax = 1 << 20

var (
	bodies  = sync.Pool{New: func() any { return new([bodyMax]byte) }}
	payload [bodyMax]byte // what echo servers answer with, zeros
)

// echo reads the body into reused memory, and answers with the number of bytes in the
// path.
func echo(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.Atoi(r.URL.Path[1:])
	if err != nil || size > bodyMax || r.ContentLength < 0 || r.ContentLength > bodyMax {
		http.Error(w, "only sizes here", http.StatusBadRequest)
		return
	}
	body := bodies.Get().(*[bodyMax]byte)
	defer bodies.Put(body)
	if _, err := io.ReadFull(r.Body, body[:r.ContentLength]); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	header := w.Header()
	header["Content-Type"] = []string{"application/octet-stream"}
	header["Content-Length"] = []string{strconv.Itoa(size)}
	w.Write(payload[:size])
}

// answerQuestions sends the child's addresses to the parent and, whenever it asks, the
// child's usage, until ctx ends.
func answerQuestions(ctx context.Context, a announcement) error {
	questions := http.NewServeMux()
	tell := func(path string, answer func() any) {
		questions.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			if err := json.NewEncoder(w).Encode(answer()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	tell("/addresses", func() any { return a })
	tell("/usage", func() any {
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		return usage{CPU: replay.ProcessCPU().Nanoseconds(), Allocations: int64(memory.Mallocs), Allocated: int64(memory.TotalAlloc),
			Waited: waitedTime().Nanoseconds()}
	})
	s, err := listenHTTP(questions)
	if err != nil {
		return err
	}
	fmt.Printf("ready http://%s\n", s.addr)
	<-ctx.Done()
	return s.stop()
}

// child is a child process, seen from its parent.
type child struct {
	*replay.Server
	announcement
}

// startChild starts this program once more, with arguments that give it a role.
func startChild(ctx context.Context, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s, err := replay.StartServer(ctx, append([]string{self}, args...))
	if err != nil {
		return nil, err
	}
	c := &child{Server: s}
	if err := c.ask(ctx, "/addresses", &c.announcement); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// used asks the child what it has used so far.
func (c *child) used(ctx context.Context) (u usage, err error) {
	return u, c.ask(ctx, "/usage", &u)
}

func (c *child) ask(ctx context.Context, path string, answer any) error {
	if err := c.Died(); err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(answer)
}
