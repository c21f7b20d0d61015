package ort

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

func spec(name string, d tensor.DType, shape ...int64) modelpkg.Spec {
	return modelpkg.Spec{Name: name, DType: d, Shape: shape}
}

// unwritten is a graph of x, FP32 [4], with outputs that no operator writes.
type unwritten struct {
	name  string
	graph func(g *graph)
	want  map[string][]byte // by output, for x = 1 2 3 4
}

func unwrittenOutputs() []unwritten {
	item, weights := floats(1, 2, 3, 4), pattern(4)
	return []unwritten{
		{"an input", func(g *graph) {
			g.node("Neg", []string{"x"}, []string{"y"})
			g.output("y", tensor.FP32, -1, 4)
			g.output("x", tensor.FP32, -1, 4)
		}, map[string][]byte{"y": floats(-1, -2, -3, -4), "x": item}},
		{"identity", func(g *graph) {
			g.node("Identity", []string{"x"}, []string{"y"})
			g.output("y", tensor.FP32, -1, 4)
		}, map[string][]byte{"y": item}},
		{"identity of a result, twice", func(g *graph) {
			g.node("Neg", []string{"x"}, []string{"n"})
			g.node("Identity", []string{"n"}, []string{"y"})
			g.node("Identity", []string{"n"}, []string{"z"})
			g.output("n", tensor.FP32, -1, 4)
			g.output("y", tensor.FP32, -1, 4)
			g.output("z", tensor.FP32, -1, 4)
		}, map[string][]byte{"n": floats(-1, -2, -3, -4), "y": floats(-1, -2, -3, -4), "z": floats(-1, -2, -3, -4)}},
		{"a weight", func(g *graph) {
			g.floats("w", 1, 4)
			g.node("Neg", []string{"x"}, []string{"y"})
			g.output("y", tensor.FP32, -1, 4)
			g.output("w", tensor.FP32, 1, 4)
		}, map[string][]byte{"y": floats(-1, -2, -3, -4), "w": weights}},
		{"dropout", func(g *graph) {
			g.node("Dropout", []string{"x"}, []string{"y"})
			g.output("y", tensor.FP32, -1, 4)
		}, map[string][]byte{"y": item}},
		{"a folded constant", func(g *graph) {
			g.floats("w", 1, 4)
			g.node("Neg", []string{"w"}, []string{"y"})
			g.node("Neg", []string{"y"}, []string{"z"})
			g.node("Add", []string{"x", "z"}, []string{"used"})
			g.output("z", tensor.FP32, 1, 4)
		}, map[string][]byte{"z": weights}},
		{"reshaped", func(g *graph) {
			g.node("Flatten", []string{"x"}, []string{"y"}, integer("axis", 1))
			g.output("y", tensor.FP32, -1, 4)
			g.output("x", tensor.FP32, -1, 4)
		}, map[string][]byte{"y": item, "x": item}},
	}
}

// TestOutputsThatNoOperatorWrites has outputs that are an input, a weight, or another
// output. ONNX Runtime does not write these into a given buffer.
func TestOutputsThatNoOperatorWrites(t *testing.T) {
	item := floats(1, 2, 3, 4)
	for _, test := range unwrittenOutputs() {
		for _, dim := range []int64{4, -1} {
			t.Run(fmt.Sprintf("%s, declared %d", test.name, dim), func(t *testing.T) {
				dir := t.TempDir()
				var g graph
				g.input("x", tensor.FP32, -1, 4)
				test.graph(&g)
				g.write(t, dir, "graph.onnx")
				var outputs []modelpkg.Spec
				for _, name := range slices.Sorted(maps.Keys(test.want)) {
					outputs = append(outputs, spec(name, tensor.FP32, dim))
				}
				in := load(t, one(dir, []modelpkg.Spec{spec("x", tensor.FP32, 4)}, outputs))
				for range 2 {
					out, err := in.Run(t.Context(), 0, []runtime.Item{{item}})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := in.Run(t.Context(), 0, []runtime.Item{{floats(9, 9, 9, 9)}}); err != nil { // must not write into the first answer
						t.Fatal(err)
					}
					for _, o := range out {
						if !bytes.Equal(o.Data, test.want[o.Name]) {
							t.Errorf("output %s is % x, want % x", o.Name, o.Data, test.want[o.Name])
						}
						clear(o.Data) // must not affect later runs
					}
				}
			})
		}
	}
}

// counting writes a model that answers i with i zeros: INT64 [n] for INT64 [1]. In a
// batch all items get as many as the first item says.
func counting(t testing.TB, most int64) *modelpkg.Model {
	dir := t.TempDir()
	var g graph
	g.input("i", tensor.Int64, -1, 1)
	g.constant("zero", tensor.Int64, 0, 1)
	g.constant("all", tensor.Int64, 0, 1)
	g.constant("axis", tensor.Int64, 0, 1)
	g.constant("one", tensor.Int64, 1, 1)
	g.node("Shape", []string{"i"}, []string{"sizes"})
	g.node("Slice", []string{"sizes", "zero", "one", "axis"}, []string{"rows"})
	g.node("Slice", []string{"i", "zero", "one", "axis"}, []string{"first"})
	g.node("Squeeze", []string{"first", "axis"}, []string{"length"})
	g.node("Concat", []string{"rows", "length"}, []string{"shape"}, integer("axis", 0))
	g.node("Expand", []string{"all", "shape"}, []string{"y"})
	g.output("y", tensor.Int64, -1, -2)
	g.write(t, dir, "graph.onnx")
	out := spec("y", tensor.Int64, -1)
	out.Max = most
	return one(dir, []modelpkg.Spec{spec("i", tensor.Int64, 1)}, []modelpkg.Spec{out})
}

func int64s(values ...int64) []byte {
	x, _ := tensor.Of("", tensor.Shape{int64(len(values))}, values) // as many as the shape says
	return x.Data
}

func TestOutputsAreBounded(t *testing.T) {
	for _, test := range []struct {
		max, length int64
		items       int
		want        string // in the error, "" for none
	}{
		{0, 0, 2, ""},
		{0, itemBytesMax / 8, 1, ""},
		{0, itemBytesMax/8 + 1, 1, "for one item; 67108864 are allowed unless the package declares the output's max"},
		{0, itemBytesMax / 8, 8, ""},
		{0, itemBytesMax / 8, 9, "603979776 bytes for 9 items; 536870912 are allowed in one run"},
		{1000, 1000, 2, ""},
		{1000, 1001, 2, `output "y" has length 1001; the package declares a max of 1000`},
		{20_000_000, 10_000_000, 1, ""},
	} {
		m := counting(t, test.max)
		m.Limits.BatchItemsMax = 9
		in := load(t, m)
		out, err := in.Run(t.Context(), 0, slices.Repeat([]runtime.Item{{int64s(test.length)}}, test.items))
		if test.want != "" {
			if err == nil || slo.KindOf(err) != slo.KindTooLarge || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%d items of %d: %v (kind %v), want %q", test.items, test.length, err, slo.KindOf(err), test.want)
			}
			continue
		}
		if err != nil || !out[0].Shape.Equal(tensor.Shape{int64(test.items), test.length}) || len(out[0].Data) != 8*int(test.length)*test.items {
			t.Errorf("%d items of %d: %v", test.items, test.length, err)
		}
	}
}

// TestMoreMemoryThanThereIs asks for more memory than any machine has, and for more
// than the process may use.
func TestMoreMemoryThanThereIs(t *testing.T) {
	lengths := []int64{1 << 50}
	if most := arenaBytesMax(); most > 0 {
		lengths = append(lengths, int64(most)/8+1)
	}
	in := load(t, counting(t, 0))
	for _, length := range lengths {
		_, err := in.Run(t.Context(), 0, []runtime.Item{{int64s(length)}})
		if err == nil || slo.KindOf(err) != slo.KindTooLarge || strings.Contains(err.Error(), "for one item") {
			t.Errorf("%d: %v (kind %v)", length, err, slo.KindOf(err))
		}
		if _, err := in.Run(t.Context(), 0, []runtime.Item{{int64s(1)}}); err != nil {
			t.Error(err)
		}
	}
}

func TestArenaBytesMax(t *testing.T) {
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for text, want := range map[string]int{"max\n": 0, "4096\n": 4096, "": 0} {
		if got := controlGroup(file(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	for text, want := range map[string]int{"MemFree: 1 kB\nMemTotal:       3 kB\n": 3072, "MemTotal: x kB\n": 0, "": 0} {
		if got := installed(file(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if controlGroup("nowhere") != 0 || installed("nowhere") != 0 {
		t.Error("a limit of nowhere")
	}
}

// resident returns the process's memory in bytes, and skips the test if that cannot be
// read.
func resident(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// raced reports whether the race detector is on.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestMemoryComesBack runs huge outputs, refused and accepted, and expects their memory
// to be returned while the model stays loaded.
func TestMemoryComesBack(t *testing.T) {
	slack := 100 << 20
	if raced() { // the detector keeps memory of its own for each byte of the heap that was written
		slack = 300 << 20
	}
	defer func(d time.Duration) { freeDelay = d }(freeDelay)
	freeDelay = 10 * time.Millisecond
	in := load(t, counting(t, 0))
	run := func(length int64) error {
		_, err := in.Run(t.Context(), 0, []runtime.Item{{int64s(length)}})
		return err
	}
	if err := run(1); err != nil {
		t.Fatal(err)
	}
	before := resident(t)
	for range 5 {
		if err := run(75_000_000); slo.KindOf(err) != slo.KindTooLarge {
			t.Fatal(err)
		}
		if now := resident(t); now > before+slack {
			t.Errorf("after a refused output of 600 MB %d MiB more than before", (now-before)>>20)
		}
		if err := run(itemBytesMax / 8); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(10 * time.Second); resident(t) > before+slack; {
		if time.Now().After(end) {
			t.Fatalf("%d MiB more than before", (resident(t)-before)>>20)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// TestFirstDimensionMustBeTheItems runs graphs whose outputs are not by item.
func TestFirstDimensionMustBeTheItems(t *testing.T) {
	dir := t.TempDir()
	var g graph
	g.input("x", tensor.FP32, -1, 4)
	g.node("NonZero", []string{"x"}, []string{"where"})
	g.output("where", tensor.Int64, 2, -2)
	g.write(t, dir, "graph.onnx")
	in := load(t, one(dir, []modelpkg.Spec{spec("x", tensor.FP32, 4)}, []modelpkg.Spec{spec("where", tensor.Int64, -1)}))
	if _, err := in.Run(t.Context(), 0, []runtime.Item{{floats(0, 1, 0, 1)}}); err == nil || slo.KindOf(err) != slo.KindInternal ||
		!strings.Contains(err.Error(), `output "where" has the shape [2,2] for 1 items, not [1,-1]`) {
		t.Errorf("%v (kind %v)", err, slo.KindOf(err))
	}
}

// TestUnbatchedInputs scales by a number without a batch dimension, or without any
// dimension.
func TestUnbatchedInputs(t *testing.T) {
	for _, shape := range []tensor.Shape{{}, {1}, {4}, {-1}} {
		t.Run(shape.String(), func(t *testing.T) {
			dir := t.TempDir()
			var g graph
			g.input("x", tensor.FP32, -1, 4)
			switch {
			case len(shape) == 0:
				g.input("k", tensor.FP32)
			case shape[0] == -1:
				g.input("k", tensor.FP32, -2)
			default:
				g.input("k", tensor.FP32, int(shape[0]))
			}
			g.node("Mul", []string{"x", "k"}, []string{"y"})
			g.output("y", tensor.FP32, -1, 4)
			g.write(t, dir, "graph.onnx")
			m := one(dir, []modelpkg.Spec{spec("x", tensor.FP32, 4), spec("k", tensor.FP32, shape...)}, []modelpkg.Spec{spec("y", tensor.FP32, 4)})
			m.Inputs[1].Unbatched = true
			in := load(t, m)
			k := floats(3)
			if len(shape) == 1 && shape[0] == 4 {
				k = floats(3, 3, 3, 3)
			}
			for n := 1; n <= 3; n++ {
				out, err := in.Run(t.Context(), 0, slices.Repeat([]runtime.Item{{floats(1, 2, 3, 4), k}}, n))
				if err != nil {
					t.Fatal(err)
				}
				if want := bytes.Repeat(floats(3, 6, 9, 12), n); !bytes.Equal(out[0].Data, want) {
					t.Errorf("%d items: % x, want % x", n, out[0].Data, want)
				}
			}
			other := bytes.Clone(k)
			other[0] = 1
			_, err := in.Run(t.Context(), 0, []runtime.Item{{floats(1, 2, 3, 4), k}, {floats(1, 2, 3, 4), other}})
			if slo.KindOf(err) != slo.KindInvalid || err == nil {
				t.Errorf("different values in one batch: %v", err)
			}
		})
	}
}

// TestInputsThatDoNotFitEachOther sends a list of ids and a mask of different lengths.
func TestInputsThatDoNotFitEachOther(t *testing.T) {
	dir := t.TempDir()
	var g graph
	g.input("ids", tensor.FP32, -1, -2)
	g.input("mask", tensor.FP32, -1, -2)
	g.node("Mul", []string{"ids", "mask"}, []string{"product"})
	g.node("ReduceMean", []string{"product"}, []string{"y"}, integers("axes", 1), integer("keepdims", 1))
	g.output("y", tensor.FP32, -1, 1)
	g.write(t, dir, "graph.onnx")
	m := one(dir, []modelpkg.Spec{spec("ids", tensor.FP32, -1), spec("mask", tensor.FP32, -1)}, []modelpkg.Spec{spec("y", tensor.FP32, 1)})
	in := load(t, m)
	bad := []runtime.Item{{floats(1, 2, 3), floats(1, 1)}}
	if _, err := in.Run(t.Context(), 0, bad); err == nil || slo.KindOf(err) != slo.KindInternal {
		t.Errorf("from a graph that has never run well: %v (kind %v)", err, slo.KindOf(err))
	}
	if _, err := in.Run(t.Context(), 0, []runtime.Item{{floats(1, 2, 3), floats(1, 1, 0)}}); err != nil {
		t.Fatal(err)
	}
	_, err := in.Run(t.Context(), 0, bad)
	if err == nil || slo.KindOf(err) != slo.KindInvalid {
		t.Fatalf("from a graph that has run well: %v (kind %v)", err, slo.KindOf(err))
	}
	if strings.Contains(err.Error(), "onnxruntime") || strings.Contains(err.Error(), ".h:") || !strings.Contains(err.Error(), "2 by 3") {
		t.Errorf("told to the client: %v", err)
	}
	if detail := runtime.Detail(err); !strings.Contains(detail, ".h:") {
		t.Errorf("told to the operator: %q", detail)
	}
}

func TestFailuresNameNoSource(t *testing.T) {
	for from, want := range map[string]string{
		"plain": "plain",
		"Non-zero status code returned while running Mul node. Name:'' Status Message: /onnxruntime_src/onnxruntime/core/providers/cpu/math/element_wise_ops.h:540 void onnxruntime::BroadcastIterator::Init(ptrdiff_t, ptrdiff_t) axis == 1 || axis == largest was false. Attempting to broadcast an axis by a dimension other than 1. 5 by 7\n": "Non-zero status code returned while running Mul node. Name:'' Status Message: axis == 1 || axis == largest was false. Attempting to broadcast an axis by a dimension other than 1. 5 by 7",
		"/a/b/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for requested buffer of size 9":                                                                                                                                                                     "Failed to allocate memory for requested buffer of size 9",
		`C:\w\x.cc:1 status`: `C:\w\x.cc:1 status`,
	} {
		if got := (&failure{message: from}).Error(); got != want {
			t.Errorf("%q\nbecomes %q\nwant    %q", from, got, want)
		}
	}
}

// TestALoadThatIsGivenUp ends the context of a load whose files never arrive.
func TestALoadThatIsGivenUp(t *testing.T) {
	rt := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	m := digits(t, 4)
	for range 5 {
		if in, err := rt.Load(ctx, m, runtime.Options{Threads: 1}); in != nil || slo.KindOf(err) != slo.KindDeadlineExceeded {
			t.Fatalf("%v, %v", in, err)
		}
	}
	for end := time.Now().Add(30 * time.Second); ; {
		err := rt.Close()
		if err == nil {
			break
		}
		if slo.KindOf(err) != slo.KindUnavailable || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
