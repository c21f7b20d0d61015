//go:build unix

package isolated

import (
	"bufio"
	"bytes"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// socketBytes is asked for as the room in the socket: fewer changes between the two
	// processes for a large batch. The system may give less.
	socketBytes = 1 << 20
	// readerBytes is for heads and small tensors; large ones do not pass through it.
	readerBytes = 64 << 10
	// outputPatience is how long the end of a worker waits for its last words.
	outputPatience = time.Second
	// linesMax and lineBytesMax bound what of a worker's words is logged.
	linesMax     = 200
	lineBytesMax = 1 << 10
)

// worker is a process.
type worker struct {
	conn   net.Conn
	reader *bufio.Reader
	cmd    *exec.Cmd
	killed atomic.Bool
	ended  chan struct{} // closed when it has ended, and status is there
	status string
}

// start starts a worker for a model.
func start(config Config, model string) (*worker, error) {
	conn, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	words := &words{log: config.Log.With("model", model)}
	cmd := exec.Command(config.Command[0], slices.Concat(config.Command[1:], config.Arguments, []string{model})...) // the name is for who lists processes
	cmd.Args[0] = "mosel"
	cmd.Env = append([]string{}, config.Env...) // not nil, which is all of ours
	cmd.Dir = os.TempDir()
	cmd.Stdout, cmd.Stderr = words, words
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C at a terminal is for the server, which then drains
	cmd.WaitDelay = outputPatience
	if err := cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	w := &worker{conn: conn, reader: bufio.NewReaderSize(conn, readerBytes), cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		_ = cmd.Wait() // what it says is in the state
		words.end()
		w.status = "it could not be waited for"
		if cmd.ProcessState != nil {
			w.status = cmd.ProcessState.String()
		}
	}()
	return w, nil
}

// pair makes a socket without a name: ours, and the end for a worker.
func pair() (net.Conn, *os.File, error) {
	syscall.ForkLock.RLock() // no other process must inherit them
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "server")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	widen(conn)
	return conn, theirs, nil
}

// widen asks for more room in a socket.
func widen(conn net.Conn) {
	if c, ok := conn.(*net.UnixConn); ok {
		_ = c.SetWriteBuffer(socketBytes) // what the system gives will do
		_ = c.SetReadBuffer(socketBytes)
	}
}

// kill ends the worker, if it has not ended.
func (w *worker) kill() {
	if !w.killed.Swap(true) {
		_ = w.cmd.Process.Kill() // it has ended, or does now
		_ = w.conn.Close()
	}
}

// end waits for the worker to end and says how it did.
func (w *worker) end() string {
	<-w.ended
	return w.status
}

// words logs what a worker writes, line by line.
type words struct {
	log   *slog.Logger
	line  []byte
	lines int
}

// Write implements io.Writer.
func (w *words) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		if room := lineBytesMax - len(w.line); room > 0 {
			w.line = append(w.line, line[:min(len(line), room)]...)
		}
		if whole {
			w.say()
		}
		rest = after
	}
	return len(p), nil
}

// end logs what is left.
func (w *words) end() {
	if len(w.line) > 0 {
		w.say()
	}
}

func (w *words) say() {
	switch w.lines++; {
	case w.lines <= linesMax:
		w.log.Warn("a worker says", "line", string(w.line))
	case w.lines == linesMax+1:
		w.log.Warn("a worker says more, which is left out")
	}
	w.line = w.line[:0]
}
