package ort

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/ort/library"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// open opens ONNX Runtime as users do, and installs it on a clean machine.
func open(t testing.TB) *Runtime {
	t.Helper()
	rt, err := Open(t.Context(), Config{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// load opens ONNX Runtime and loads a model for the duration of the test.
func load(t testing.TB, m *modelpkg.Model) runtime.Instance {
	t.Helper()
	rt := open(t)
	in, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), rt.Close()); err != nil {
			t.Error(err)
		}
	})
	return in
}

func floats(values ...float32) []byte {
	x, _ := tensor.Of("", tensor.Shape{int64(len(values))}, values) // as many as the shape says
	return x.Data
}

func TestConformance(t *testing.T) {
	opened := func(t testing.TB) runtime.Runtime { return open(t) }
	t.Run("two modalities", func(t *testing.T) {
		runtimetest.Run(t, runtimetest.Suite{Open: opened, Model: twoModalities(t), Tolerance: 1e-5})
	})
	t.Run("dynamic length", func(t *testing.T) {
		runtimetest.Run(t, runtimetest.Suite{Open: opened, Model: dynamicLength(t), Tolerance: 1e-5})
	})
	t.Run("texts", func(t *testing.T) {
		runtimetest.Run(t, runtimetest.Suite{Open: opened, Model: texts(t)})
	})
	t.Run("digits", func(t *testing.T) {
		runtimetest.Run(t, runtimetest.Suite{Open: opened, Model: digits(t, 4), Tolerance: 1e-5})
	})
}

func TestAnswersAreRight(t *testing.T) {
	in := load(t, twoModalities(t))
	w := pattern(8)
	at := func(i int) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(w[4*i:]))) }
	items := []runtime.Item{{floats(1, 2, 3, 4)}, {floats(0, 0, 1, 0)}}
	out, err := in.Run(t.Context(), 0, items)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range [][]float64{{1, 2, 3, 4}, {0, 0, 1, 0}} {
		for column := range 2 {
			want := 0.0
			for k, v := range x {
				want += v * at(2*k+column)
			}
			got := math.Float32frombits(binary.LittleEndian.Uint32(out[0].Row(i)[4*column:]))
			if math.Abs(float64(got)-want) > 1e-5 {
				t.Errorf("item %d, column %d: %v, want %v", i, column, got, want)
			}
		}
	}
}

func TestDynamicLengths(t *testing.T) {
	in := load(t, dynamicLength(t))
	for _, n := range []int{3, 1, 5, 3, 300} {
		item := make([]float32, n)
		for i := range item {
			item[i] = float32(i)
		}
		out, err := in.Run(t.Context(), 0, []runtime.Item{{floats(item...)}, {floats(item...)}})
		if err != nil {
			t.Fatal(err)
		}
		mean := float32(n-1) / 2
		for i := range item {
			item[i] += mean
		}
		if !out[1].Shape.Equal(tensor.Shape{2, int64(n)}) || !bytes.Equal(out[1].Row(1), floats(item...)) || !bytes.Equal(out[0].Row(1), floats(mean)) {
			t.Errorf("%d numbers: mean %v, shifted %v % x", n, out[0].Row(1), out[1].Shape, out[1].Row(1))
		}
	}
}

// TestElementTypes sends every type through an identity graph.
func TestElementTypes(t *testing.T) {
	for d := range elementTypes {
		for _, shape := range []tensor.Shape{{3}, {-1}} {
			t.Run(d.String()+shape.String(), func(t *testing.T) {
				dir := t.TempDir()
				var g graph
				g.input("x", d, -1, -2)
				g.node("Identity", []string{"x"}, []string{"y"})
				g.output("y", d, -1, -2)
				g.write(t, dir, "graph.onnx")
				m := one(dir, []modelpkg.Spec{{Name: "x", DType: d, Shape: shape}}, []modelpkg.Spec{{Name: "y", DType: d, Shape: shape}})
				in := load(t, m)
				item := bytes.Repeat([]byte{1, 0, 0, 0, 0, 0, 1, 0}, 3)[:3*d.Size()]
				if d == tensor.Bool {
					item = []byte{1, 0, 1}
				}
				if d == tensor.Bytes {
					item = strs(t, "a", "", "bc")
				}
				out, err := in.Run(t.Context(), 0, []runtime.Item{{item}, {item}})
				if err != nil {
					t.Fatal(err)
				}
				if want := append(bytes.Clone(item), item...); !bytes.Equal(out[0].Data, want) || !out[0].Shape.Equal(tensor.Shape{2, 3}) {
					t.Errorf("%v % x, want [2,3] % x", out[0].Shape, out[0].Data, want)
				}
			})
		}
	}
}

// refuseLoad loads a model and expects an error.
func refuseLoad(t *testing.T, m *modelpkg.Model, kind slo.Kind, want string) {
	t.Helper()
	rt := open(t)
	_, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1})
	if err == nil || slo.KindOf(err) != kind || !strings.Contains(err.Error(), want) {
		t.Errorf("%v (kind %v), want %q of kind %v", err, slo.KindOf(err), want, kind)
	}
	if err := rt.Close(); err != nil { // the failed Load must leave nothing behind
		t.Error(err)
	}
}

func TestGraphsAtFault(t *testing.T) {
	t.Run("not a graph", func(t *testing.T) {
		m := twoModalities(t)
		if err := os.WriteFile(m.File("ab.onnx"), []byte("not a graph"), 0o600); err != nil {
			t.Fatal(err)
		}
		refuseLoad(t, m, slo.KindInvalid, "load two/ab: ab.onnx: ")
	})
	t.Run("missing", func(t *testing.T) {
		m := twoModalities(t)
		m.Variants[1].Path = "nowhere.onnx"
		refuseLoad(t, m, slo.KindNotFound, "nowhere.onnx")
	})
	t.Run("missing weights", func(t *testing.T) {
		m := sharedWeights(t)
		if err := os.Remove(filepath.Join(m.Dir, "weights.bin")); err != nil {
			t.Fatal(err)
		}
		refuseLoad(t, m, slo.KindInvalid, "weights.bin")
	})
	t.Run("unknown operator", func(t *testing.T) {
		m := twoModalities(t)
		var g graph
		g.input("a", tensor.FP32, -1, 4)
		g.node("Frobnicate", []string{"a"}, []string{"y"})
		g.output("y", tensor.FP32, -1, 2)
		g.write(t, m.Dir, "a.onnx")
		refuseLoad(t, m, slo.KindInvalid, "Frobnicate")
	})
	t.Run("no type", func(t *testing.T) {
		m := twoModalities(t)
		m.Inputs[0].DType = tensor.Invalid
		refuseLoad(t, m, slo.KindUnsupported, "a: INVALID [4] cannot be run")
	})
}

// sharedWeights writes two variants with their weights in one file.
func sharedWeights(t testing.TB) *modelpkg.Model {
	m := twoModalities(t)
	m.Variants = m.Variants[:1]
	m.Outputs = m.Outputs[:1]
	m.Variants = append(m.Variants, m.Variants[0])
	m.Variants[1].Name, m.Variants[1].Path = "twin", "twin.onnx"
	for _, v := range m.Variants {
		var g graph
		g.input("a", tensor.FP32, -1, 4)
		g.external("weights_a", "weights.bin", 4, 2)
		g.node("MatMul", []string{"a", "weights_a"}, []string{"y"})
		g.output("y", tensor.FP32, -1, 2)
		g.write(t, m.Dir, v.Path)
	}
	if err := os.WriteFile(filepath.Join(m.Dir, "weights.bin"), pattern(8), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestVariantsMayShareAFileOfWeights(t *testing.T) {
	inside, outside := load(t, twoModalities(t)), load(t, sharedWeights(t))
	items := []runtime.Item{{floats(1, -2, 3, -4)}}
	want, err := inside.Run(t.Context(), 0, items)
	if err != nil {
		t.Fatal(err)
	}
	for v := range 2 {
		got, err := outside.Run(t.Context(), v, items)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[0].Data, want[0].Data) {
			t.Errorf("variant %d: % x, want % x", v, got[0].Data, want[0].Data)
		}
	}
}

func TestAFailingGraphFailsOnlyItsBatch(t *testing.T) {
	in := load(t, twoModalities(t))
	item := func(index byte) runtime.Item {
		return runtime.Item{nil, {1, 2, 3}, {index, 0, 0, 0, 0, 0, 0, 0}}
	}
	want, err := in.Run(t.Context(), 1, []runtime.Item{item(7)})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err = in.Run(t.Context(), 1, []runtime.Item{item(7), item(8)})
		if err == nil || slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), "run two/b: ") {
			t.Errorf("an index beyond the table: %v (kind %v)", err, slo.KindOf(err))
		}
		got, err := in.Run(t.Context(), 1, []runtime.Item{item(7)})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[0].Data, want[0].Data) {
			t.Errorf("after a failure % x, before % x", got[0].Data, want[0].Data)
		}
	}
}

// TestAnotherShapeThanDeclared checks that ONNX Runtime does not write beyond the
// declared size.
func TestAnotherShapeThanDeclared(t *testing.T) {
	for _, declared := range []tensor.Shape{{1}, {3}, {2, 1}} {
		m := twoModalities(t)
		m.Outputs[0].Shape = declared
		_, err := load(t, m).Run(t.Context(), 0, []runtime.Item{{floats(1, 2, 3, 4)}})
		if err == nil || slo.KindOf(err) != slo.KindInternal {
			t.Errorf("declared %v: %v (kind %v)", declared, err, slo.KindOf(err))
		}
	}
	m := dynamicLength(t)
	m.Outputs[1].Shape = tensor.Shape{-1, 1}
	_, err := load(t, m).Run(t.Context(), 0, []runtime.Item{{floats(1, 2, 3, 4)}})
	if err == nil || !strings.Contains(err.Error(), `output "shifted" has the shape [1,4] for 1 items, not [1,-1,1]`) {
		t.Error(err)
	}
}

// watched reports when somebody waits for the context's end.
type watched struct {
	context.Context
	once    *sync.Once
	waiting chan struct{}
}

func (w watched) Done() <-chan struct{} {
	w.once.Do(func() { close(w.waiting) })
	return w.Context.Done()
}

func TestACancelEndsARunningGraph(t *testing.T) {
	in := load(t, endless(t))
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		w := watched{ctx, new(sync.Once), make(chan struct{})}
		go func() {
			<-w.waiting
			cancel()
		}()
		_, err := in.Run(w, 0, []runtime.Item{{floats(1)}})
		if !errors.Is(err, context.Canceled) || slo.KindOf(err) != slo.KindCancelled {
			t.Fatalf("%v (kind %v)", err, slo.KindOf(err))
		}
	}
}

func TestInstancesShareSessions(t *testing.T) {
	rt, m := open(t), twoModalities(t)
	var all []runtime.Instance
	add := func(m *modelpkg.Model, threads int) {
		in, err := rt.Load(t.Context(), m, runtime.Options{Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, in)
	}
	again := *m // as after reading the package again
	for i, want := range []int{3, 3, 6, 9} {
		switch i {
		case 2:
			add(m, 2) // has threads of its own, so it shares nothing
		case 3:
			add(&again, 1)
		default:
			add(m, 1)
		}
		if len(rt.sessions) != want {
			t.Errorf("after instance %d: %d sessions, want %d", i, len(rt.sessions), want)
		}
	}
	if err := rt.Close(); err == nil || !strings.Contains(err.Error(), "9 sessions are in use") {
		t.Errorf("close with open instances: %v", err)
	}
	for _, in := range all {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := rt.Close(); err != nil || len(rt.sessions) != 0 {
		t.Errorf("%v, %d sessions left", err, len(rt.sessions))
	}
	if _, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1}); slo.KindOf(err) != slo.KindUnavailable {
		t.Errorf("load after close: %v", err)
	}
}

func TestOpenIsCounted(t *testing.T) {
	first, second := open(t), open(t)
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Error(err)
	}
	in, err := second.Load(t.Context(), twoModalities(t), runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err) // the environment still exists
	}
	if err := errors.Join(in.Close(), second.Close()); err != nil {
		t.Error(err)
	}
	third := open(t) // and is made again
	if third.Version() == "" || third.Library().Path == "" {
		t.Errorf("version %q of %+v", third.Version(), third.Library())
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
}

// TestTelemetryIsOff checks the variable that disables telemetry. It must be set before
// a library is loaded.
func TestTelemetryIsOff(t *testing.T) {
	for before, want := range map[string]string{"": "1", "0": "0"} {
		t.Setenv(telemetryVariable, before)
		if before == "" {
			if err := os.Unsetenv(telemetryVariable); err != nil {
				t.Fatal(err)
			}
		}
		if err := open(t).Close(); err != nil {
			t.Fatal(err)
		}
		if got := os.Getenv(telemetryVariable); got != want {
			t.Errorf("%s was %q and is %q, want %q", telemetryVariable, before, got, want)
		}
	}
}

func TestOpenRefusesWhatIsNoLibrary(t *testing.T) {
	file := filepath.Join(t.TempDir(), "libonnxruntime.so")
	if err := os.WriteFile(file, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(library.EnvironmentVariable, file)
	_, err := Open(t.Context(), Config{})
	if slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), "it cannot be loaded") {
		t.Errorf("%v (kind %v)", err, slo.KindOf(err))
	}
	t.Setenv(library.EnvironmentVariable, "")
	if err := open(t).Close(); err != nil { // the failure left nothing behind
		t.Error(err)
	}
}
