package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

// program is the real mosel, built once for all tests that start it.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mosel-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "mosel")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path)) // what is left is in the system's directory for such
	}
	os.Exit(code)
}

// process is a server in a process of its own.
type process struct {
	t                   *testing.T
	cmd                 *exec.Cmd
	models              string
	rest, grpc, metrics string
	log                 tail          // standard error, if it is read
	gone                chan struct{} // closed when it has ended
}

// tail is what a process has said.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// setting is how a process is started.
type setting struct {
	models  map[string]modelpkgtest.Long // by name
	prepare func(dir string)             // of the model directory
	flags   []string
	env     []string
	stderr  *os.File    // nil: it is read
	shell   string      // run before the server in its process, such as "ulimit -n 40"; "": nothing
	loading bool        // wait only until it listens
	entered func() bool // not nil: wait only until this is so
}

// launch starts a server and waits until it is ready, or listens.
func launch(t *testing.T, s setting) *process {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, models: filepath.Join(t.TempDir(), "models"), gone: make(chan struct{})}
	if err := os.Mkdir(p.models, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, graph := range s.models {
		p.add(name, graph)
	}
	if s.prepare != nil {
		s.prepare(p.models)
	}
	args := append([]string{path, "serve", "--models", p.models, "--addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0",
		"--instances", "1", "--threads", "1", "--watch", "50ms", "--log-format", "json"}, s.flags...)
	if s.shell != "" {
		args = append([]string{"/bin/sh", "-c", s.shell + `; exec "$@"`, "sh"}, args...)
	}
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Env = append(os.Environ(), s.env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.cmd.Stderr = &p.log; s.stderr != nil {
		p.cmd.Stderr = s.stderr
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		ready <- line
		_, _ = io.Copy(io.Discard, stdout)
		_ = p.cmd.Wait() // its state says how it went
		close(p.gone)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.gone
	})
	switch {
	case s.entered != nil:
		p.until("it is in its state", s.entered)
		p.listens()
		return p
	case s.loading:
		p.until("it listens", p.listens)
		return p
	}
	select {
	case line := <-ready:
		if n, err := fmt.Sscanf(line, "ready %s grpc %s metrics %s", &p.rest, &p.grpc, &p.metrics); n != 3 || err != nil {
			t.Fatalf("it says %q and: %s", line, p.log.String())
		}
	case <-time.After(busyTimeout):
		t.Fatalf("it is not ready after %v: %s", busyTimeout, p.log.String())
	}
	return p
}

// busyTimeout is what a busy machine may need for anything.
const busyTimeout = 20 * time.Second

// listens reads from the log where the server listens.
func (p *process) listens() bool {
	for line := range strings.Lines(p.log.String()) {
		var entry struct {
			Msg       string
			Addresses []string
		}
		if json.Unmarshal([]byte(line), &entry) == nil && strings.HasPrefix(entry.Msg, "listening") {
			p.rest, p.grpc = entry.Addresses[0], strings.TrimPrefix(entry.Addresses[1], "grpc://")
			return true
		}
	}
	return false
}

// add writes a package into the model directory at once.
func (p *process) add(name string, graph modelpkgtest.Long) {
	p.t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(p.models), "new-")
	if err == nil {
		_, err = modelpkgtest.WriteLong(dir, name, graph)
	}
	if err == nil {
		err = os.Rename(filepath.Join(dir, name), filepath.Join(p.models, name))
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// until waits until something is so.
func (p *process) until(what string, so func() bool) {
	p.t.Helper()
	for late := time.Now().Add(busyTimeout); !so(); {
		select {
		case <-p.gone:
			p.t.Fatalf("it ended before %s: %s", what, p.log.String())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(late) {
			p.t.Fatalf("after %v not yet so: %s: %s", busyTimeout, what, p.log.String())
		}
	}
}

// says waits until the log has a text.
func (p *process) says(text string) {
	p.t.Helper()
	p.until("the log says "+text, func() bool { return strings.Contains(p.log.String(), text) })
}

// get is the status of an answer; 0: none came.
func (p *process) get(path string) int {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get(p.rest + path)
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// metric is the sum of a metric's values over its labels.
func (p *process) metric(name string) (sum float64) {
	p.t.Helper()
	r, err := http.Get("http://" + p.metrics + "/metrics")
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if ok && (rest[0] == '{' || rest[0] == ' ') {
			var value float64
			if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &value); err == nil {
				sum += value
			}
		}
	}
	return sum
}

// client makes a client over REST or gRPC.
func (p *process) client(overGRPC bool) *client.Client {
	p.t.Helper()
	addr := p.rest
	if overGRPC {
		addr = "grpc://" + p.grpc
	}
	c, err := client.New(addr, client.Options{GRPC: clientgrpc.Dial})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	return c
}

// number is a request of a Long model.
func number(model string, x float32) client.Request {
	data := binary.LittleEndian.AppendUint64(nil, uint64(math.Float32bits(x)))
	return client.Request{Model: model, Inputs: []tensor.Tensor{{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{1, 2}, Data: data}}}
}

// ask sends requests at once, and returns what became of them, as a client sees it.
func (p *process) ask(c *client.Client, n int, r client.Request) <-chan string {
	seen := make(chan string, n)
	for range n {
		go func() {
			_, err := c.Infer(p.t.Context(), r)
			seen <- saw(err)
		}()
	}
	return seen
}

// saw is what a client saw, in short.
func saw(err error) string {
	var told *client.Error
	switch {
	case err == nil:
		return "200"
	case !errors.As(err, &told):
		return "no answer"
	case told.RetryAfter > 0:
		return fmt.Sprint(told.Status, ", retry")
	}
	return fmt.Sprint(told.Status)
}

// signal sends a signal.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// end waits for the process and returns its exit status.
func (p *process) end() int {
	p.t.Helper()
	select {
	case <-p.gone:
	case <-time.After(busyTimeout):
		p.t.Fatalf("it has not ended after %v: %s", busyTimeout, p.log.String())
	}
	return p.cmd.ProcessState.ExitCode()
}
