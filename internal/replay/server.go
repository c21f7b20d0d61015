package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Bounds on a child server's life.
const (
	startMax    = 60 * time.Second // to load and warm up a large model
	drainMax    = 10 * time.Second // from SIGTERM to its end
	readyWord   = "ready "         // before the URL, on a line of its output
	complaints  = 8 << 10          // number of bytes of the end of its output that are kept
	complainMax = 12               // number of these lines that an error shows
)

// Server is a child process that serves during a run. It is a separate process so that
// it does not share a Go scheduler, a heap and a garbage collector with the load
// generator, which would falsify the measurement.
type Server struct {
	URL string

	process *os.Process
	output  *tail
	ended   chan struct{} // closed when the process has ended
	err     error         // how; read after ended
}

// ErrServerDied is wrapped by the error of a server that ended unexpectedly.
var ErrServerDied = errors.New("the server ended unexpectedly")

// StartServer runs a command, such as "mosel serve --addr 127.0.0.1:0", and returns
// when it prints "ready URL". On Linux the child ends when this process ends, even if
// this process is killed.
func StartServer(ctx context.Context, command []string) (*Server, error) {
	announced := make(chan string, 1)
	s := &Server{output: &tail{most: complaints, announced: announced}, ended: make(chan struct{})}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = s.output, s.output
	cmd.SysProcAttr = childAttributes()
	started := make(chan error, 1)
	go func() {
		// Linux sends the signal that ends an orphan when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(s.ended)
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		s.process = cmd.Process
		started <- nil
		s.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start a server: %w", err)
	}
	if err := s.await(ctx, announced); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// await waits until the server has announced its URL.
func (s *Server) await(ctx context.Context, announced <-chan string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startMax, fmt.Errorf("the server was not ready after %v", startMax))
	defer cancel()
	select {
	case <-s.ended:
		return s.Died()
	case <-ctx.Done():
		return fmt.Errorf("%w\n%s", context.Cause(ctx), s.output.lines(complainMax))
	case s.URL = <-announced:
		return nil
	}
}

// Died returns nil while the server runs. After that it returns an error that wraps
// ErrServerDied and shows the last lines of the server's output.
func (s *Server) Died() error {
	select {
	case <-s.ended:
	default:
		return nil
	}
	how := "with status 0"
	if s.err != nil {
		how = "with " + s.err.Error()
	}
	return fmt.Errorf("%w %s\n%s", ErrServerDied, how, s.output.lines(complainMax))
}

// Watch returns a context that ends when the server ends, with Died as its cause.
func (s *Server) Watch(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.ended:
			cancel(s.Died())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// Stop sends SIGTERM, kills the server if it does not end in time, and returns when it
// has ended. It may be called more than once.
func (s *Server) Stop() {
	_ = s.process.Signal(syscall.SIGTERM) // it may have ended before
	drained := time.AfterFunc(drainMax, func() { _ = s.process.Kill() })
	defer drained.Stop()
	<-s.ended
}

// tail keeps the end of what is written to it. It announces the URL of a line "ready
// URL" once.
type tail struct {
	most      int
	announced chan<- string // nil after it was announced

	mu  sync.Mutex
	end []byte
}

// Write appends p and drops old output.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, p...)
	if t.announced != nil {
		for line := range bytes.Lines(t.end) {
			if said, ok := bytes.CutPrefix(line, []byte(readyWord)); ok && bytes.HasSuffix(said, []byte("\n")) {
				url, _, _ := strings.Cut(string(bytes.TrimSpace(said)), " ") // the rest is for other transports
				t.announced <- url
				t.announced = nil
				break
			}
		}
	}
	if extra := len(t.end) - t.most; extra > 0 {
		t.end = append(t.end[:0], t.end[extra:]...)
	}
	return len(p), nil
}

// lines returns the last n lines.
func (t *tail) lines(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := strings.Split(strings.TrimSpace(string(t.end)), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}
