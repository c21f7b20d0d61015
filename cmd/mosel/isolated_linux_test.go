package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
)

// besides serves the model rounds in the server's process, and apart, of this graph,
// in a process of its own.
func besides(t *testing.T, graph modelpkgtest.Long, env []string, flags ...string) *process {
	return launch(t, setting{models: loopModel, env: env, flags: flags, prepare: func(dir string) {
		if _, err := modelpkgtest.WriteLongIn(dir, "apart", graph, modelpkg.IsolationProcess); err != nil {
			t.Fatal(err)
		}
	}})
}

// workers are the processes that run the graphs of a model for this server.
func (p *process) workers(model string) (ids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		command, err := os.ReadFile(file)
		if err != nil || string(command) != "mosel\x00worker\x00"+model+"\x00" {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(file), "stat"))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // state, parent, ...
		if id, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && fields[1] == strconv.Itoa(p.cmd.Process.Pid) {
			ids = append(ids, id)
		}
	}
	return ids
}

// TestAWorkerIsKilled ends the process of a model while it runs a batch. The batch
// fails, the model comes back, and the other model never notices.
func TestAWorkerIsKilled(t *testing.T) {
	temporary := t.TempDir()
	p := besides(t, modelpkgtest.Rounds, []string{"TMPDIR=" + temporary, "MOSEL_TEST_SECRET=hunter2"})
	p.answers("before")
	ids := p.workers("apart")
	if len(ids) != 1 {
		t.Fatalf("%d workers, want one for the instance", len(ids))
	}
	if environment, err := os.ReadFile("/proc/" + strconv.Itoa(ids[0]) + "/environ"); err != nil || bytes.Contains(environment, []byte("hunter2")) {
		t.Errorf("the worker has the server's secrets (%v): %q", err, environment)
	}
	c := p.client(false)
	asked := p.ask(c, 1, number("apart", 1e8))
	p.until("it runs", func() bool { return busyProcess(ids[0]) })
	if err := syscall.Kill(ids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if saw := <-asked; !strings.HasPrefix(saw, "503") {
		t.Errorf("the batch that was under way: %s: %s", saw, p.log.String())
	}
	p.answers("after the crash") // of the other model, at once
	p.until("the model is back", func() bool { return <-p.ask(c, 1, number("apart", 1)) == "200" })
	if again := p.workers("apart"); len(again) != 1 || again[0] == ids[0] {
		t.Errorf("workers %d, before %d", again, ids)
	}
	p.says("signal: killed")
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	last := p.workers("apart")
	p.stops()
	if syscall.Kill(last[0], 0) == nil {
		t.Error("the worker has not ended with the server")
	}
}

// busyProcess reports whether a process has used some processor time.
func busyProcess(id int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(id) + "/stat")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks, _ := strconv.Atoi(fields[11]) // in user mode
	return ticks > 50
}

// TestAWorkerEndsWithTheServer kills the server while a worker is busy.
func TestAWorkerEndsWithTheServer(t *testing.T) {
	p := besides(t, modelpkgtest.Rounds, nil)
	ids := p.workers("apart")
	p.ask(p.client(false), 1, number("apart", 1e8))
	p.until("it runs", func() bool { return busyProcess(ids[0]) })
	p.signal(syscall.SIGKILL)
	p.end()
	for late := time.Now().Add(busyTimeout); syscall.Kill(ids[0], 0) == nil; {
		<-time.After(5 * time.Millisecond)
		if time.Now().After(late) {
			t.Fatal("the worker is still there")
		}
	}
}

// TestAGraphThatHangsApart costs its process: nothing is left behind in the server.
func TestAGraphThatHangsApart(t *testing.T) {
	p := besides(t, modelpkgtest.Stuck, nil, "--batch-time-max", "1s")
	c := p.client(false)
	for range 3 { // more often than threads may be left behind
		if saw := <-p.ask(c, 1, number("apart", 200_000)); saw != "504" {
			t.Errorf("a batch that hangs: %s: %s", saw, p.log.String())
		}
		p.answers("beside it")
		p.until("the model is back", func() bool { return <-p.ask(c, 1, number("apart", 1)) == "200" })
	}
	if status := p.get("/v2/health/live"); status != 200 {
		t.Errorf("the server's health is %d", status)
	}
	p.stops()
}
