//go:build unix

package isolated_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/runtime/isolated"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// The first byte of a batch says what goes wrong with it in the worker.
const (
	fine byte = iota
	dividesByZero
	hangs
	speaks
	tells // of its environment and files
)

// sound and unsound are how workers are started: one heeds the first byte of a batch.
const sound, unsound = "sound-worker", "unsound-worker"

// TestMain is also the worker: this program, started as one.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || !slices.Contains([]string{sound, unsound, graphs}, os.Args[1]) {
		os.Exit(m.Run())
	}
	err := isolated.Serve(func(ctx context.Context) (runtime.Runtime, error) {
		if os.Args[1] == graphs {
			return openGraphs(ctx)
		}
		return fake.New(fake.Config{HangRun: func(r fake.Run) <-chan struct{} {
			if os.Args[1] == sound {
				return nil
			}
			switch r.Items[0][0][0] {
			case dividesByZero: // as the processor does
				_ = syscall.Kill(os.Getpid(), syscall.SIGFPE)
				return make(chan struct{})
			case hangs:
				return make(chan struct{})
			case speaks:
				fmt.Fprintln(os.Stderr, "something is odd")
			case tells:
				files, _ := filepath.Glob("/proc/self/fd/*")
				fmt.Fprintf(os.Stderr, "environment %q, %d files, process %d\n", os.Environ(), len(files), os.Getpid())
			}
			return nil
		}}), nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func model() *modelpkg.Model {
	return &modelpkg.Model{
		Name:       "m",
		Modalities: []modelpkg.Modality{{Name: "a", Inputs: []int{0}}, {Name: "b", Inputs: []int{1, 2}}},
		Inputs: []modelpkg.Input{
			{Spec: modelpkg.Spec{Name: "a", DType: tensor.Uint8, Shape: tensor.Shape{4}}},
			{Spec: modelpkg.Spec{Name: "b", DType: tensor.FP32, Shape: tensor.Shape{3}}, Modality: 1},
			{Spec: modelpkg.Spec{Name: "c", DType: tensor.Int64, Shape: tensor.Shape{-1}}, Modality: 1},
		},
		Outputs: []modelpkg.Spec{
			{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{10}},
			{Name: "length", DType: tensor.Int16, Shape: tensor.Shape{-1}},
		},
		Variants: []modelpkg.Variant{
			{Name: "a", Modalities: 1, Inputs: []int{0}},
			{Name: "b", Modalities: 2, Inputs: []int{1, 2}},
			{Name: "ab", Modalities: 3, Inputs: []int{0, 1, 2}},
		},
		Limits: modelpkg.Limits{BatchItemsMax: 8},
	}
}

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func open(j *journal, how string) *isolated.Runtime {
	return isolated.New(isolated.Config{Command: []string{os.Args[0], how}, Name: "fake", Version: "1", Env: []string{"ONLY=this"}, Log: slog.New(slog.NewTextHandler(j, nil))})
}

func load(t testing.TB, j *journal) runtime.Instance {
	t.Helper()
	in, err := open(j, unsound).Load(t.Context(), model(), runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	return in
}

func item(first byte) []runtime.Item { return []runtime.Item{{{first, 1, 2, 3}}} }

func TestConformance(t *testing.T) {
	runtimetest.Run(t, runtimetest.Suite{Open: func(testing.TB) runtime.Runtime { return open(new(journal), sound) }, Model: model()})
}

// staged is a model of a text and a number, with an encoder for each and a head for each
// subset.
func staged() *modelpkg.Model {
	m := &modelpkg.Model{
		Name:       "staged",
		Modalities: []modelpkg.Modality{{Name: "a", Inputs: []int{0}}, {Name: "b", Inputs: []int{1}}},
		Inputs: []modelpkg.Input{
			{Spec: modelpkg.Spec{Name: "a", DType: tensor.Bytes, Shape: tensor.Shape{2}}},
			{Spec: modelpkg.Spec{Name: "b", DType: tensor.FP32, Shape: tensor.Shape{3}}, Modality: 1},
		},
		Outputs: []modelpkg.Spec{{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{10}}, {Name: "words", DType: tensor.Bytes, Shape: tensor.Shape{2}}},
		Stages:  []modelpkg.Stage{{Name: "encode_a"}, {Name: "encode_b"}, {Name: "head_a"}, {Name: "head_ab"}},
		Limits:  modelpkg.Limits{BatchItemsMax: 8},
	}
	outputs := []string{"scores", "words"}
	encodeA := modelpkg.Step{Stage: 0, Unit: 0, Inputs: []modelpkg.Source{{Name: "a"}}, Outputs: []string{"fa"}}
	encodeB := modelpkg.Step{Stage: 1, Unit: 1, Inputs: []modelpkg.Source{{Name: "b", Input: 1}}, Outputs: []string{"fb"}}
	m.Variants = []modelpkg.Variant{
		{Name: "a", Modalities: 1, Inputs: []int{0}, Steps: []modelpkg.Step{encodeA,
			{Stage: 2, Unit: 2, Inputs: []modelpkg.Source{{Name: "fa", Input: -1}}, Outputs: outputs}}},
		{Name: "ab", Modalities: 3, Inputs: []int{0, 1}, Steps: []modelpkg.Step{encodeA, encodeB,
			{Stage: 3, Unit: 3, Inputs: []modelpkg.Source{{Name: "fa", Input: -1}, {Name: "fb", Input: -1, Step: 1}}, Outputs: outputs}}},
	}
	return m
}

func TestStagesConform(t *testing.T) {
	open := func(testing.TB) runtime.Runtime { return open(new(journal), sound) }
	runtimetest.Run(t, runtimetest.Suite{Open: open, Model: staged()})
	in, err := open(t).Load(t.Context(), staged(), runtime.Options{Threads: 1, Variants: []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if runtime.Keeps(in, 0) || !runtime.Keeps(in, 1) {
		t.Error("parts run of a variant that is not loaded, or not of one that is")
	}
	if _, _, err := in.(runtime.Staged).RunStages(t.Context(), runtime.Part{Variant: 0, Items: []runtime.Item{{make([]byte, 8), nil}}}); slo.KindOf(err) != slo.KindInvalid {
		t.Errorf("a part of a variant that is not loaded: %v", err)
	}
}

// TestTextsOfAnyLength has a batch whose texts have different lengths, both ways.
func TestTextsOfAnyLength(t *testing.T) {
	m := staged()
	in, err := open(new(journal), sound).Load(t.Context(), m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var items []runtime.Item
	for _, texts := range [][]string{{"", "a"}, {"a longer text", ""}, {"b", "c"}} {
		x, err := tensor.Strings("a", tensor.Shape{2}, texts)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, runtime.Item{x.Data, make([]byte, 12)})
	}
	for v := range m.Variants {
		outputs, err := in.Run(t.Context(), v, items)
		if err != nil {
			t.Fatal(err)
		}
		for i, item := range items {
			for o, out := range outputs {
				if want := fake.Row(m, o, v, item); !bytes.Equal(out.Split()[i], want) {
					t.Errorf("variant %d, item %d, output %d: % x, want % x", v, i, o, out.Split()[i], want)
				}
			}
		}
	}
}

// TestACrashTakesItsBatchOnly ends workers during runs and between them.
func TestACrashTakesItsBatchOnly(t *testing.T) {
	var j journal
	other := load(t, &j)
	for name, end := range map[string]struct {
		lose func(in runtime.Instance) error
		to   error
		says string
	}{
		"by its numbers": {func(in runtime.Instance) error { _, err := in.Run(t.Context(), 0, item(dividesByZero)); return err }, runtime.ErrCrashed, "exit status 2"},
		"by the system":  {func(in runtime.Instance) error { return killed(t, in, &j) }, runtime.ErrLost, "signal: killed"},
	} {
		t.Run(name, func(t *testing.T) {
			in := load(t, &j)
			if _, err := in.Run(t.Context(), 0, item(fine)); err != nil {
				t.Fatal(err)
			}
			err := end.lose(in)
			if !errors.Is(err, end.to) || errors.Is(err, runtime.ErrCrashed) != (end.to == runtime.ErrCrashed) || slo.KindOf(err) != slo.KindUnavailable {
				t.Errorf("%v (kind %v), want %v", err, slo.KindOf(err), end.to)
			}
			if !strings.Contains(err.Error(), end.says) {
				t.Errorf("%v does not say %q", err, end.says)
			}
			for range 2 { // and it stays so, whatever is asked of it
				if _, err := in.Run(t.Context(), 0, item(fine)); !errors.Is(err, runtime.ErrLost) || errors.Is(err, runtime.ErrCrashed) {
					t.Errorf("after it: %v", err)
				}
			}
			if err := in.Close(); err != nil {
				t.Error(err)
			}
			if _, err := other.Run(t.Context(), 0, item(fine)); err != nil {
				t.Errorf("another instance: %v", err)
			}
		})
	}
	if !strings.Contains(j.String(), "model=m") || !strings.Contains(j.String(), "SIGFPE") {
		t.Errorf("the log lacks what the worker said:\n%s", j.String())
	}
}

// process is a worker's id, as it tells it.
func process(t *testing.T, in runtime.Instance, j *journal) int {
	t.Helper()
	before := len(j.String())
	if _, err := in.Run(t.Context(), 0, item(tells)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(10 * time.Second); ; {
		select {
		case <-deadline:
			t.Fatal("the worker does not say which process it is")
		case <-time.After(time.Millisecond):
		}
		if _, rest, ok := strings.Cut(j.String()[before:], ", process "); ok {
			digits := strings.TrimRight(strings.SplitN(rest, "\n", 2)[0], `"`)
			id, err := strconv.Atoi(digits)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
	}
}

// killed kills the worker of an instance between two runs, and runs again.
func killed(t *testing.T, in runtime.Instance, j *journal) error {
	t.Helper()
	id := process(t, in, j)
	if err := syscall.Kill(id, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, id)
	_, err := in.Run(t.Context(), 0, item(fine))
	return err
}

// gone waits until a process has ended and has been waited for.
func gone(t *testing.T, id int) {
	t.Helper()
	for deadline := time.After(10 * time.Second); syscall.Kill(id, 0) == nil; {
		select {
		case <-deadline:
			t.Fatalf("process %d is still there", id)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestAWorkerHasNothingOfOurs looks at what a worker inherits, and that it ends with
// its instance.
func TestAWorkerHasNothingOfOurs(t *testing.T) {
	t.Setenv("SECRET_TOKEN", "hunter2")
	secret, err := os.Create(filepath.Join(t.TempDir(), "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	var j journal
	in := load(t, &j)
	id := process(t, in, &j)
	if text := j.String(); !strings.Contains(text, `environment [\"ONLY=this\"]`) {
		t.Errorf("the worker's environment is not what it was given:\n%s", text)
	}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", id))
	if err == nil {
		for _, link := range links {
			to, _ := os.Readlink(link)
			if !slices.ContainsFunc([]string{"/dev/null", "pipe:", "socket:", "anon_inode:", "/sys/fs/cgroup/" /* Go looks there how many cores it has */}, func(p string) bool { return strings.HasPrefix(to, p) }) {
				t.Errorf("the worker has %s open", to)
			}
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	gone(t, id)
}

// TestARunThatDoesNotEndIsEnded kills a worker that does not end a run when it is told
// to.
func TestARunThatDoesNotEndIsEnded(t *testing.T) {
	var j journal
	in := load(t, &j)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := in.Run(ctx, 0, item(hangs))
	if !errors.Is(err, runtime.ErrCrashed) || time.Since(began) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// TestLoadErrors starts what is no worker.
func TestLoadErrors(t *testing.T) {
	m := model()
	for name, command := range map[string][]string{"no program": {"/nonexistent/mosel"}, "another program": {"/bin/false"}} {
		rt := isolated.New(isolated.Config{Command: command, Log: slog.New(slog.DiscardHandler)})
		in, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1})
		if in != nil || slo.KindOf(err) != slo.KindInternal {
			t.Errorf("%s: %v, %v", name, in, err)
		}
	}
}

// TestFilesAreCopied loads a model from a package: the worker gets the files that were
// checked, and nothing is left behind.
func TestFilesAreCopied(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	m := model()
	m.Dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(m.Dir, "a.onnx"), []byte("graph"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.Files = map[string]string{"a.onnx": "0000"} // it has changed since
	if _, err := open(new(journal), sound).Load(t.Context(), m, runtime.Options{Threads: 1}); slo.KindOf(err) != slo.KindInvalid {
		t.Errorf("a file that has changed: %v", err)
	}
	m.Files = map[string]string{}
	in, err := open(new(journal), sound).Load(t.Context(), m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
