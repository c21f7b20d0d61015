package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
)

// These tests do to the real server what machines do: each says what clients see
// meanwhile, and that the server recovers.

// answers checks that the server does its work.
func (p *process) answers(when string) {
	p.t.Helper()
	for _, overGRPC := range []bool{false, true} {
		if saw := <-p.ask(p.client(overGRPC), 1, number("rounds", 1)); saw != "200" {
			p.t.Errorf("%s, over gRPC %v: %s: %s", when, overGRPC, saw, p.log.String())
		}
	}
}

// stops ends the server in good order.
func (p *process) stops() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.end(); code != 0 {
		p.t.Errorf("exit status %d: %s", code, p.log.String())
	}
}

// TestNoFileDescriptors has clients take all there are.
func TestNoFileDescriptors(t *testing.T) {
	p := launch(t, setting{models: loopModel, shell: "ulimit -n 160"})
	p.answers("before")
	var held []net.Conn
	for range 200 { // waits in the system's queue when the server has no more
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(p.rest, "http://"), time.Second)
		if err != nil {
			break
		}
		held = append(held, conn)
	}
	p.add("later", modelpkgtest.Rounds)
	if len(held) < 50 {
		t.Errorf("only %d connections", len(held))
	}
	for _, conn := range held {
		_ = conn.Close()
	}
	p.until("the package is served", func() bool { return p.get("/v2/models/later/ready") == 200 })
	p.answers("after")
	if strings.Contains(p.log.String(), "a model package cannot be served") {
		t.Errorf("a package is blamed: %s", p.log.String())
	}
	p.stops()
}

// TestNoRoomForFiles has a package that is too large for what the server may write:
// it is told, and the others are served.
func TestNoRoomForFiles(t *testing.T) {
	p := launch(t, setting{models: loopModel, shell: "ulimit -f 16"}) // 8 or 16 KiB
	p.answers("before")
	p.add("large", func() []byte {
		documentation := append([]byte{6<<3 | 2, 0x80, 0x80, 0x08}, bytes.Repeat([]byte("x"), 128<<10)...) // doc_string
		return append(modelpkgtest.Rounds(), documentation...)
	})
	p.says("file too large")
	p.answers("with a package that finds no room")
	if status := p.get("/v2/models/large/ready"); status != 503 {
		t.Errorf("the model is ready with status %d", status)
	}
	p.stops()
}

// TestClosedLog has nobody at the other end of the log.
func TestClosedLog(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := launch(t, setting{models: loopModel, flags: []string{"-v"}, stderr: w})
	_, _ = r.Close(), w.Close()
	c := p.client(false)
	for range 100 {
		if saw := <-p.ask(c, 1, number("nosuch", 1)); saw != "404" {
			t.Fatal(saw)
		}
	}
	p.until("lines are counted as dropped", func() bool { return p.metric("mosel_log_dropped_total") > 0 })
	p.answers("without a log")
	p.stops()
}

// TestLogThatIsNotRead has a reader of the log that stops, and goes on later.
func TestLogThatIsNotRead(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := launch(t, setting{models: loopModel, flags: []string{"-v"}, stderr: w})
	_ = w.Close()
	c := p.client(false)
	p.until("lines are dropped", func() bool {
		<-p.ask(c, 1, number(strings.Repeat("nosuch", 10_000), 1)) // one line of 60 KB
		return p.metric("mosel_log_dropped_total") > 0
	})
	p.answers("while nobody reads the log")
	go func() { _, _ = io.Copy(&p.log, r) }()
	p.until("the log reports dropped lines", func() bool { return strings.Contains(p.log.String(), "log lines dropped") })
	p.stops()
}

// TestStoppedAndContinued freezes the server under load.
func TestStoppedAndContinued(t *testing.T) {
	p := launch(t, setting{models: loopModel})
	c := p.client(false)
	p.answers("before")
	p.signal(syscall.SIGSTOP)
	p.until("all its threads are stopped", p.frozen)
	r := number("rounds", 1000)
	r.Deadline = 100 * time.Millisecond
	seen := p.ask(c, 20, r)
	patient := p.ask(c, 20, number("rounds", 1000))
	select {
	case saw := <-seen:
		t.Fatalf("a server that is frozen answers %s", saw)
	case <-time.After(300 * time.Millisecond):
	}
	p.signal(syscall.SIGCONT)
	for range 20 {
		if saw := <-patient; saw != "200" {
			t.Errorf("without a deadline: %s", saw)
		}
		// The server counts deadlines from when it reads the request.
		if saw := <-seen; saw != "200" && saw != "504" && saw != "429, retry" && saw != "no answer" {
			t.Errorf("with a deadline: %s", saw)
		}
	}
	p.answers("after")
	p.stops()
}

// frozen reports whether all threads of the process are stopped.
func (p *process) frozen() bool {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	for _, file := range files {
		text, err := os.ReadFile(file)
		_, state, found := strings.Cut(string(text), ") ")
		if err != nil || !found || state[0] != 'T' {
			return false
		}
	}
	return len(files) > 0
}

// TestKilledUnderLoad kills the server and starts another on the same address.
func TestKilledUnderLoad(t *testing.T) {
	p := launch(t, setting{models: loopModel})
	busy := busy(p, "rounds", 1<<30)
	waiting := p.ask(p.client(true), 10, number("rounds", 1))
	p.until("all wait", func() bool { return p.metric("mosel_queue_jobs") == 11 })
	p.signal(syscall.SIGKILL)
	p.end()
	if saw := <-busy; saw != "no answer" {
		t.Errorf("the client of a server that was killed sees %s", saw)
	}
	for range 10 {
		if saw := <-waiting; saw != "no answer" && !strings.HasPrefix(saw, "503") {
			t.Errorf("over gRPC: the client of a server that was killed sees %s", saw)
		}
	}
	next := launch(t, setting{models: loopModel, flags: []string{"--addr", strings.TrimPrefix(p.rest, "http://"), "--grpc-addr", p.grpc}})
	next.answers("started again")
	next.stops()
}

// TestStuckOperator has operators that nothing ends: their requests fail, the server
// goes on, and says that it is not alive when too many hang.
func TestStuckOperator(t *testing.T) {
	p := launch(t, setting{models: map[string]modelpkgtest.Long{"stuck": modelpkgtest.Stuck, "rounds": modelpkgtest.Rounds},
		flags: []string{"--batch-time-max", "300ms", "--drain", drain.String()}})
	c := p.client(false)
	began := time.Now()
	if saw := <-p.ask(c, 1, number("stuck", 800_000)); saw != "504" || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %s", time.Since(began), saw)
	}
	p.answers("with an operator that is stuck")
	if saw := <-p.ask(c, 1, number("stuck", 1)); saw != "200" {
		t.Errorf("the same model: %s", saw)
	}
	if live, losses := p.get("/v2/health/live"), p.metric("mosel_instance_losses_total"); live != 200 || losses != 1 {
		t.Errorf("alive: %d, instances lost: %v", live, losses)
	}
	if saw := <-p.ask(c, 1, number("stuck", 800_000)); saw != "504" {
		t.Errorf("the second: %s", saw)
	}
	p.until("it is not alive", func() bool { return p.get("/v2/health/live") == 503 && p.get("/v2/health/ready") == 503 })
	began = time.Now()
	p.signal(syscall.SIGTERM)
	if code := p.end(); code != 1 || time.Since(began) > drain+spare || !strings.Contains(p.log.String(), "this did not end: a batch of model stuck") &&
		!strings.Contains(p.log.String(), "these did not end: a batch of model stuck") {
		t.Errorf("exit status %d after %v: %s", code, time.Since(began), p.log.String())
	}
}
