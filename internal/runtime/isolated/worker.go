//go:build unix

package isolated

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

// socketFile is where a worker finds its socket.
const socketFile = 3

// killFirst is by how much rather the system ends a worker than other processes, when
// memory runs out: the server can start it again.
const killFirst = "500"

// Serve is a worker: it runs what the server tells it to, on a runtime that it opens.
// It returns when the server closes the socket, also when it is in the middle of a run.
func Serve(open func(ctx context.Context) (runtime.Runtime, error)) error {
	file := os.NewFile(socketFile, "server")
	conn, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		return fmt.Errorf("a worker is started by mosel serve, not by hand: %w", err)
	}
	// The server says when to end. It drains when it is told to, which all processes of a
	// service or a terminal are.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // no copies of clients' inputs on the disk
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(killFirst), 0)
	widen(conn)
	s := &served{conn: conn, open: open, runs: make(chan run, 1)}
	go s.work()
	if err := s.read(bufio.NewReaderSize(conn, readerBytes)); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// served is the worker's side. One goroutine reads messages, another carries them out,
// so that a run can be cancelled, and ends with the process.
type served struct {
	conn  net.Conn
	open  func(ctx context.Context) (runtime.Runtime, error)
	runs  chan run
	model *modelpkg.Model // of the load

	mu      sync.Mutex
	number  uint32 // of the run that was begun last
	cancel  context.CancelFunc
	buffer  []byte // of the run's inputs; the server sends the next after the answer
	running runtime.Instance
}

// run is something to carry out: a load, or a batch.
type run struct {
	load *loadMessage // nil: a batch
	ctx  context.Context
	part runtime.Part
}

func (s *served) read(r *bufio.Reader) error {
	for {
		k, head, err := receive(r)
		if err != nil {
			return err
		}
		switch {
		case k == kindLoad && s.model == nil:
			q, err := decode[loadMessage](head)
			if err != nil || q.Model == nil {
				return errMessage
			}
			s.model = q.Model
			s.runs <- run{load: q}
		case k == kindRun && s.model != nil:
			number, part, err := readRun(r, s.model, head, &s.buffer)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(context.Background())
			s.mu.Lock()
			s.number, s.cancel = number, cancel
			s.mu.Unlock()
			s.runs <- run{ctx: ctx, part: part}
		case k == kindCancel:
			f := fields{head: head}
			if number := uint32(f.number(4)); number == s.number && s.cancel != nil { // else it has ended
				s.cancel()
			}
		default:
			return errMessage
		}
	}
}

// work carries out what was read, and answers. An answer that cannot be sent has
// nobody who waits for it: the reader ends the process.
func (s *served) work() {
	for q := range s.runs {
		if q.load != nil {
			if err := s.load(q.load); err != nil {
				_ = sendJSON(s.conn, kindFailed, failed(err))
				continue
			}
			keeps := make([]byte, len(s.model.Variants))
			for v := range keeps {
				if runtime.Keeps(s.running, v) {
					keeps[v] = 1
				}
			}
			_ = send(s.conn, kindLoaded, keeps)
			continue
		}
		outputs, kept, err := s.batch(q.ctx, q.part)
		s.mu.Lock()
		s.cancel()
		s.mu.Unlock()
		if err != nil {
			_ = sendJSON(s.conn, kindFailed, failed(err))
			continue
		}
		head, parts := outputsHead(outputs, kept)
		_ = send(s.conn, kindOutputs, head, parts...)
	}
}

func (s *served) batch(ctx context.Context, part runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	if staged, ok := s.running.(runtime.Staged); ok && !part.Whole() {
		return staged.RunStages(ctx, part)
	}
	outputs, err = s.running.Run(ctx, part.Variant, part.Items)
	return outputs, nil, err
}

func (s *served) load(q *loadMessage) error {
	rt, err := s.open(context.Background())
	if err != nil {
		return err
	}
	s.running, err = rt.Load(context.Background(), q.Model, q.Options)
	return err
}
