package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
)

// drain is how long the servers of TestStop may drain, and spare what they may take
// beyond that, on a machine that has nothing else to do.
const drain, spare = time.Second, 2 * time.Second

// stop is one line of the table of TestStop: a server in a state is told to stop.
type stop struct {
	state   string
	setting setting
	// enter brings the server into the state. What it returns tells, when the server
	// has ended, what clients saw.
	enter func(p *process) (clients func() []string)
	sees  []string // what clients see: each, and nothing else
	code  int
	says  string        // in the log or the last words
	limit time.Duration // 0: drain and spare
}

var loopModel = map[string]modelpkgtest.Long{"rounds": modelpkgtest.Rounds}

// collect gathers what n clients saw.
func collect(n int, seen ...<-chan string) func() []string {
	return func() []string {
		var all []string
		for _, s := range seen {
			for range n {
				all = append(all, <-s)
			}
		}
		return all
	}
}

// busy asks for a batch that ends long after the drain, and waits until it runs.
func busy(p *process, model string, x float32) <-chan string {
	seen := p.ask(p.client(false), 1, number(model, x))
	p.until("a batch runs", func() bool { return p.metric("mosel_instance_running_batches") == 1 })
	return seen
}

var stops = []stop{
	{
		state: "idle", setting: setting{models: loopModel},
	}, {
		state: "the runtime's file does not answer", setting: setting{models: loopModel},
		code: 1, says: "opening ONNX Runtime", limit: spare,
	}, {
		state: "the file of tokens does not answer", setting: setting{models: loopModel},
		code: 1, says: "starting", limit: spare,
	}, {
		state: "a model whose warm-up does not end", setting: setting{models: map[string]modelpkgtest.Long{"endless": modelpkgtest.Endless}, loading: true},
		enter: func(p *process) func() []string {
			p.says(`"loading"`)
			return collect(0)
		},
		limit: spare,
	}, {
		state: "a new package whose warm-up does not end", setting: setting{models: loopModel},
		enter: func(p *process) func() []string {
			p.add("endless", modelpkgtest.Endless)
			p.says(`models/endless"`)
			list := []string{<-p.ask(p.client(false), 1, number("rounds", 1))}
			return func() []string { return list }
		},
		sees: []string{"200"}, limit: spare,
	}, {
		state: "a pipe in place of a package's file", setting: setting{models: loopModel, prepare: func(dir string) {
			_ = os.Mkdir(filepath.Join(dir, "piped"), 0o755)
			_ = syscall.Mkfifo(filepath.Join(dir, "piped", "mosel.yaml"), 0o644)
		}},
		says: "regular file",
	}, {
		state: "a batch runs that ends in time", setting: setting{models: loopModel, flags: []string{"--drain", "40s"}},
		enter: func(p *process) func() []string { return collect(1, busy(p, "rounds", 1<<20)) },
		sees:  []string{"200"}, limit: 40*time.Second + spare,
	}, {
		state: "a batch runs that does not end in time", setting: setting{models: loopModel},
		enter: func(p *process) func() []string { return collect(1, busy(p, "rounds", 1<<30)) },
		sees:  []string{"503, retry"}, code: 1, says: "when the time to drain was over",
	}, {
		state: "an operator runs that nothing ends", setting: setting{models: map[string]modelpkgtest.Long{"stuck": modelpkgtest.Stuck}},
		enter: func(p *process) func() []string { return collect(1, busy(p, "stuck", 800_000)) },
		sees:  []string{"503, retry"}, code: 1, says: "a batch of model stuck, variant x, on instance 0",
	}, {
		state: "the queue is full", setting: setting{models: loopModel, flags: []string{"--queue-jobs", "50"}},
		enter: func(p *process) func() []string {
			running := busy(p, "rounds", 1<<30)
			waiting := p.ask(p.client(false), 29, number("rounds", 1))
			streamed := p.ask(p.client(true), 20, number("rounds", 1))
			p.until("the queue is full", func() bool { return p.metric("mosel_queue_jobs") == 50 })
			refused := p.ask(p.client(false), 1, number("rounds", 1))
			list := []string{<-refused}
			return func() []string {
				return slices.Concat(list, collect(1, running)(), collect(29, waiting)(), collect(20, streamed)())
			}
		},
		sees: []string{"429, retry", "503, retry"}, code: 1,
	}, {
		state: "in the middle of a stream", setting: setting{models: loopModel},
		enter: midStream, sees: []string{"200", "503, retry", "none on the closed stream"}, code: 1,
	}, {
		state: "the log is not read", setting: setting{models: loopModel, flags: []string{"-v"}},
		enter: func(p *process) func() []string {
			c := p.client(false)
			for range 40 { // far more lines than a pipe holds
				for range 25 {
					_, _ = c.Infer(p.t.Context(), number(strings.Repeat("nosuch", 20), 1)) // what it says is logged
				}
			}
			list := []string{<-p.ask(c, 1, number("rounds", 1))}
			return func() []string { return list }
		},
		sees: []string{"200"},
	},
}

// midStream has a stream with a request answered, one that runs, and one that is
// sent after the server has stopped.
func midStream(p *process) func() []string {
	stream, err := p.client(true).Stream(p.t.Context(), client.StreamOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(stream.Close)
	send := func(x float32) {
		if err := stream.Send(number("rounds", x)); err != nil {
			p.t.Error(err)
		}
	}
	send(1)
	_, err = stream.Recv()
	list := []string{saw(err)}
	send(1 << 30)
	p.until("a batch runs", func() bool { return p.metric("mosel_instance_running_batches") == 1 })
	return func() []string {
		_, err := stream.Recv()
		list = append(list, saw(err))
		_ = stream.Send(number("rounds", 1))
		if _, err = stream.Recv(); err != nil { // of the transport, or none at all
			return append(list, "none on the closed stream")
		}
		return append(list, "200")
	}
}

// TestStop sends SIGTERM to the real server in every state. It prints the table of
// docs/operations.md:
//
//	go test ./cmd/mosel -run 'TestStop$' -v
func TestStop(t *testing.T) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| state\t| time to exit\t| exit status\t| what clients saw\t|\n|---\t|---\t|---\t|---\t|")
	for _, s := range stops {
		t.Run(s.state, func(t *testing.T) {
			took, seen := s.run(t)
			fmt.Fprintf(w, "| %s\t| %.2f s\t| %d\t| %s\t|\n", s.state, took.Seconds(), s.code, seen)
		})
	}
	_ = w.Flush()
	t.Logf("--drain %v\n%s", drain, table.String())
}

func (s stop) run(t *testing.T) (took time.Duration, clients string) {
	set := s.setting
	set.flags = append([]string{"--drain", drain.String()}, set.flags...)
	switch s.state {
	case "the log is not read":
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		set.stderr = w
	case "the runtime's file does not answer":
		var path string
		path, set.entered = silent(t)
		set.env = append(set.env, "MOSEL_ONNXRUNTIME="+path)
	case "the file of tokens does not answer":
		var path string
		path, set.entered = silent(t)
		set.flags = append(set.flags, "--tokens", path)
	}
	p := launch(t, set)
	seen := func() []string { return nil }
	if s.enter != nil {
		seen = s.enter(p)
	}
	began := time.Now()
	p.signal(syscall.SIGTERM)
	unready := s.unready(t, p)
	code := p.end()
	took = time.Since(began)
	unready()
	limit := s.limit
	if limit == 0 {
		limit = drain + spare
	}
	if took > limit {
		t.Errorf("it took %v, at most %v is wanted", took, limit)
	}
	if said := p.log.String(); code != s.code || !strings.Contains(said, s.says) {
		t.Errorf("exit status %d, want %d, and to be told %q: %s", code, s.code, s.says, said)
	}
	count := map[string]int{}
	for _, what := range seen() {
		count[what]++
	}
	got := slices.Sorted(maps.Keys(count))
	if want := slices.Sorted(slices.Values(s.sees)); !slices.Equal(got, want) {
		t.Errorf("clients saw %v, want %q", count, want)
	}
	for i, what := range got {
		got[i] = fmt.Sprintf("%d x %s", count[what], what)
	}
	return took, strings.Join(got, "; ")
}

// unready checks that a server that was told to stop is not ready any more.
func (s stop) unready(t *testing.T, p *process) (done func()) {
	ready := make(chan int, 1)
	go func() {
		late := time.Now().Add(500 * time.Millisecond) // a busy machine
		status := p.get("/v2/health/ready")
		for status == 200 && time.Now().Before(late) {
			status = p.get("/v2/health/ready")
		}
		ready <- status
	}()
	return func() {
		if status := <-ready; status == 200 {
			t.Error("it is ready after the signal")
		}
	}
}

// silent is a file that hangs whoever opens it, as one on a network disk that is
// away: somebody has a lease on it and does not give it back. opened reports whether
// somebody waits for it.
func silent(t *testing.T) (path string, opened func() bool) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "silent")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	lease := func(command, kind uintptr) (uintptr, error) {
		got, _, errno := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), command, kind)
		if errno != 0 {
			return 0, errno
		}
		return got, nil
	}
	if _, err := lease(syscall.F_SETLEASE, syscall.F_WRLCK); err != nil {
		t.Skipf("no leases on files here: %v", err)
	}
	return path, func() bool {
		kind, err := lease(syscall.F_GETLEASE, 0)
		return err == nil && kind != syscall.F_WRLCK
	}
}

// TestSecondSignal ends a server at once that drains.
func TestSecondSignal(t *testing.T) {
	for s, want := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGINT: 130} {
		p := launch(t, setting{models: loopModel})
		seen := busy(p, "rounds", 1<<30)
		p.signal(syscall.SIGTERM)
		p.says("stopping")
		began := time.Now()
		p.signal(s)
		if code := p.end(); code != want || time.Since(began) > spare {
			t.Errorf("exit status %d after %v, want %d at once", code, time.Since(began), want)
		}
		<-seen
	}
}
