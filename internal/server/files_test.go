//go:build unix

package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/server"
)

// fewFiles is the environment variable that makes this test binary a server that may
// open few files.
const fewFiles = "MOSEL_TEST_FEW_FILES"

// filesOfChild is how many files it may open.
const filesOfChild = 200

// TestFewFilesChild is the server of the tests below. It prints where it listens, opens
// files until it can open no more when it reads "fill", and closes them when it reads
// "free".
func TestFewFilesChild(t *testing.T) {
	if os.Getenv(fewFiles) == "" {
		t.Skip("it is the child of another test")
	}
	limit := syscall.Rlimit{Cur: filesOfChild, Max: filesOfChild}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, func(cfg *server.Config) {
		cfg.Runtime, cfg.WatchEvery = fake.New(fake.Config{Instant: true}), 0
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	})
	fmt.Println("ready", s.Addr(), s.GRPCAddr(), s.MetricsAddr())
	var held []*os.File
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch lines.Text() {
		case "fill":
			for {
				f, err := os.Open(os.DevNull)
				if err != nil {
					break
				}
				held = append(held, f)
			}
		case "free":
			for _, f := range held {
				f.Close()
			}
			held = nil
		}
		fmt.Println("done", len(held))
	}
	select {
	case err := <-s.Failed():
		t.Error(err)
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.Shutdown(ctx)
}

// child is a server with few files, in a process of its own.
type child struct {
	rest, grpc, metrics string
	orders              io.Writer
	answers             *bufio.Scanner
	log                 *strings.Builder
	end                 func() error
}

func startChild(t *testing.T) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestFewFilesChild$")
	cmd.Env = append(os.Environ(), fewFiles+"=1")
	c := &child{log: new(strings.Builder)}
	cmd.Stderr = c.log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.orders, c.answers = in, bufio.NewScanner(out)
	ended := false
	c.end = func() error {
		if ended {
			return nil
		}
		ended = true
		in.Close()
		for c.answers.Scan() {
		}
		return cmd.Wait()
	}
	t.Cleanup(func() { _ = c.end() })
	line := c.answer()
	if _, err := fmt.Sscanf(line, "ready %s %s %s", &c.rest, &c.grpc, &c.metrics); err != nil {
		t.Fatalf("the child says %q: %v", line, c.end())
	}
	return c
}

// answer returns the child's next line for the test.
func (c *child) answer() string {
	for c.answers.Scan() {
		if line := c.answers.Text(); strings.HasPrefix(line, "ready ") || strings.HasPrefix(line, "done ") {
			return line
		}
	}
	return ""
}

func (c *child) order(t *testing.T, what string) {
	t.Helper()
	if _, err := fmt.Fprintln(c.orders, what); err != nil {
		t.Fatal(err)
	}
	if c.answer() == "" {
		t.Fatal("the child has ended")
	}
}

// health asks a listener over HTTP, on a new connection, whether the server is ready.
func health(t *testing.T, addr string, within time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v2/health/ready", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}

// TestIdleConnectionsLeaveFiles holds more connections of REST and gRPC than the server
// may open files. The server keeps files for itself, health is answered, and when the
// connections are closed everything works as before.
func TestIdleConnectionsLeaveFiles(t *testing.T) {
	c := startChild(t)
	var held []net.Conn
	for range filesOfChild {
		for _, addr := range []string{c.rest, c.grpc} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, conn)
		}
	}
	for range 3 {
		if err := health(t, c.metrics, 10*time.Second); err != nil {
			t.Errorf("health of the metrics' listener: %v", err)
		}
	}
	c.order(t, "fill") // the server has files left, for packages and the runtime
	c.order(t, "free")
	for _, conn := range held {
		conn.Close()
	}
	if err := health(t, c.rest, 10*time.Second); err != nil {
		t.Errorf("when the connections have gone: %v", err)
	}
	if err := c.end(); err != nil {
		t.Errorf("%v\n%s", err, c.log)
	}
	if log := c.log.String(); !strings.Contains(log, "allows fewer connections than configured") || strings.Contains(log, "too many open files") {
		t.Errorf("the log says:\n%s", log)
	}
}

// TestNoFilesLeft checks that, while no file can be opened, connections wait. The
// server keeps running and accepts them when files are free again.
func TestNoFilesLeft(t *testing.T) {
	c := startChild(t)
	c.order(t, "fill")
	for _, addr := range []string{c.rest, c.metrics} {
		if err := health(t, addr, 300*time.Millisecond); err == nil {
			t.Errorf("%s: a connection without a file", addr)
		}
	}
	waiting, err := net.Dial("tcp", c.grpc) // as the others do
	if err != nil {
		t.Fatal(err)
	}
	c.order(t, "free")
	for _, addr := range []string{c.rest, c.metrics} {
		if err := health(t, addr, 10*time.Second); err != nil {
			t.Errorf("%s, when there are files again: %v", addr, err)
		}
	}
	waiting.Close()
	if err := c.end(); err != nil {
		t.Errorf("%v\n%s", err, c.log)
	}
	if log := c.log.String(); !strings.Contains(log, "too many open files") {
		t.Errorf("the log does not say why no connection was accepted:\n%s", log)
	}
}
