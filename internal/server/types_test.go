package server_test

import (
	"bytes"
	"context"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// pairs has for each element type nine elements, its extremes among them: two for x and
// one for s of each of three items.
func pairs(t *testing.T) map[tensor.DType][]byte {
	t.Helper()
	data := map[tensor.DType][]byte{}
	add := func(x tensor.Tensor, err error) {
		if err != nil {
			t.Fatal(err)
		}
		data[x.DType] = x.Data
	}
	nine := tensor.Shape{9}
	add(tensor.Of("", nine, []bool{true, false, true, true, false, false, true, false, true}))
	add(tensor.Of("", nine, []uint8{0, 255, 1, 2, 3, 4, 5, 6, 7}))
	add(tensor.Of("", nine, []uint16{0, math.MaxUint16, 1, 2, 3, 4, 5, 6, 7}))
	add(tensor.Of("", nine, []uint32{0, math.MaxUint32, 1, 2, 3, 4, 5, 6, 7}))
	add(tensor.Of("", nine, []uint64{0, math.MaxUint64, 1, 2, 3, 4, 5, 6, 1 << 53}))
	add(tensor.Of("", nine, []int8{math.MinInt8, math.MaxInt8, 1, -2, 3, 4, 5, 6, 7}))
	add(tensor.Of("", nine, []int16{math.MinInt16, math.MaxInt16, 1, -2, 3, 4, 5, 6, 7}))
	add(tensor.Of("", nine, []int32{math.MinInt32, math.MaxInt32, 1, -2, 3, 4, 5, 6, 7}))
	add(tensor.Of("", nine, []int64{math.MinInt64, math.MaxInt64, 1, -2, 3, 4, 5, 1 << 60, -1<<53 - 1}))
	add(tensor.Of("", nine, []tensor.Float16{0, 0x3c00, 0xfbff, 1, 0x8000, 5, 6, 7, 8}))
	add(tensor.Of("", nine, []tensor.BFloat16{0, 0x3f80, 0xff7f, 1, 0x8000, 5, 6, 7, 8}))
	add(tensor.Of("", nine, []float32{0, math.MaxFloat32, -math.SmallestNonzeroFloat32, 0.1, 1e-7, 5, 6, 7, 8}))
	add(tensor.Of("", nine, []float64{0, math.MaxFloat64, -math.SmallestNonzeroFloat64, 0.1, 1e-7, 5, 6, 7, 8}))
	add(tensor.Strings("", nine, []string{"", "a", "né", "\"\\\n", "世界", strings.Repeat("x", 300), "g", "h", "i"}))
	return data
}

// batched puts the batch before dimensions.
func batched(dims ...int) []int { return append([]int{modelpkgtest.Batch}, dims...) }

// writeTypes writes a package of these inputs and outputs with one graph.
func writeTypes(t *testing.T, dir, name string, inputs, outputs []modelpkg.Spec, g *modelpkgtest.Graph) {
	t.Helper()
	m := &modelpkg.Model{Name: name, Version: "1", Outputs: outputs, Limits: modelpkg.Limits{BatchItemsMax: 4},
		Modalities: []modelpkg.Modality{{Name: "m"}}, Variants: []modelpkg.Variant{{Name: "v", Modalities: 1}}}
	dims := func(s modelpkg.Spec) []int {
		list := batched()
		for _, d := range s.Shape {
			list = append(list, int(d))
		}
		return list
	}
	for i, in := range inputs {
		m.Inputs = append(m.Inputs, modelpkg.Input{Spec: in})
		m.Modalities[0].Inputs = append(m.Modalities[0].Inputs, i)
		g.Input(in.Name, in.DType, dims(in)...)
	}
	for _, out := range outputs {
		g.Output(out.Name, out.DType, dims(out)...)
	}
	if _, err := modelpkgtest.WriteGraphs(dir, m, []modelpkgtest.Measured{{Accuracy: 0.9, Item: time.Millisecond}}, func(modelpkg.Variant) []byte { return g.File() }); err != nil {
		t.Fatal(err)
	}
}

func typeSpec(name string, d tensor.DType, shape ...int64) modelpkg.Spec {
	return modelpkg.Spec{Name: name, DType: d, Shape: shape}
}

// ways are the ways to a server.
type ways struct {
	url  string
	grpc *client.Client
}

// ask sends inputs one way and returns the status and either the outputs or the error.
func (w ways) ask(t *testing.T, way, model string, inputs []tensor.Tensor) (status int, outputs []tensor.Tensor, fault string) {
	t.Helper()
	if way == "gRPC" {
		r, err := w.grpc.Infer(t.Context(), client.Request{Model: model, Inputs: inputs})
		if err != nil {
			return 400, nil, err.Error()
		}
		return 200, r.Outputs, ""
	}
	form := oip.JSON
	if way == "binary" {
		form = oip.Binary
	}
	q := oip.Request{Inputs: inputs, OutputForm: form}
	body, n, err := q.Append(nil, form)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/v2/models/"+model+"/infer", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if n != oip.AllJSON {
		request.Header.Set(oip.HeaderLength, strconv.Itoa(n))
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 200 {
		return answer.StatusCode, nil, string(body)
	}
	n = oip.AllJSON
	if text := answer.Header.Get(oip.HeaderLength); text != "" {
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	var r oip.Response
	if err := r.Decode(body, n, oip.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	return 200, r.Outputs, ""
}

// serveTypes serves the packages in a directory with the real runtime.
func serveTypes(t *testing.T, dir string) ways {
	t.Helper()
	s := startServer(t, func(c *server.Config) { c.ModelsDir = dir })
	c, err := client.New("grpc://"+s.GRPCAddr().String(), client.Options{GRPC: clientgrpc.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		http.DefaultClient.CloseIdleConnections()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return ways{"http://" + s.Addr().String(), c}
}

// TestEveryElementType sends every element type, as a list and as one element for each
// item, through a graph that gives it back.
func TestEveryElementType(t *testing.T) {
	dir, data := t.TempDir(), pairs(t)
	scores := typeSpec("f", tensor.FP32, 2)
	for d := range data {
		var g modelpkgtest.Graph
		for _, pair := range [][2]string{{"f", "scores"}, {"x", "y"}, {"s", "t"}} {
			g.Node("Identity", []string{pair[0]}, []string{pair[1]})
		}
		writeTypes(t, dir, strings.ToLower(d.String()), []modelpkg.Spec{scores, typeSpec("x", d, 2), typeSpec("s", d)},
			[]modelpkg.Spec{typeSpec("scores", tensor.FP32, 2), typeSpec("y", d, 2), typeSpec("t", d)}, &g)
	}
	w := serveTypes(t, dir)
	f, err := tensor.Of("f", tensor.Shape{3, 2}, []float32{1, 2, 3, 4, 5, 6})
	if err != nil {
		t.Fatal(err)
	}
	for d, nine := range data {
		rows := tensor.Tensor{DType: d, Shape: tensor.Shape{9}, Data: nine}.Split()
		x := tensor.Tensor{Name: "x", DType: d, Shape: tensor.Shape{3, 2}, Data: bytes.Join(rows[:6], nil)}
		s := tensor.Tensor{Name: "s", DType: d, Shape: tensor.Shape{3}, Data: bytes.Join(rows[6:], nil)}
		for _, way := range []string{"JSON", "binary", "gRPC"} {
			t.Run(d.String()+" "+way, func(t *testing.T) {
				if way == "JSON" && (d == tensor.FP16 || d == tensor.BF16) {
					return // they have no JSON form
				}
				status, outputs, fault := w.ask(t, way, strings.ToLower(d.String()), []tensor.Tensor{f, x, s})
				if status != 200 || len(outputs) != 3 {
					t.Fatalf("%d %s", status, fault)
				}
				for i, want := range []tensor.Tensor{f, x, s} {
					if got := outputs[i]; got.DType != want.DType || !got.Shape.Equal(want.Shape) || !bytes.Equal(got.Data, want.Data) {
						t.Errorf("%v %v %q, want %v %v %q", got.DType, got.Shape, got.Data, want.DType, want.Shape, want.Data)
					}
				}
			})
		}
	}
}

// TestDimensionsOfAnySize has a model whose answer has as many numbers as k says, none
// too, and another output of a size that follows from an input.
func TestDimensionsOfAnySize(t *testing.T) {
	dir := t.TempDir()
	var g modelpkgtest.Graph
	g.Weight("zero", tensor.Int64, make([]byte, 8), 1)
	g.Weight("one", tensor.Int64, []byte{1, 0, 0, 0, 0, 0, 0, 0}, 1)
	g.Node("Identity", []string{"f"}, []string{"scores"})
	g.Node("ReduceMax", []string{"k"}, []string{"end"}, modelpkgtest.Integer("keepdims", 1))
	g.Node("Slice", []string{"free", "zero", "end", "one"}, []string{"cut"})
	g.Node("Identity", []string{"free"}, []string{"all"})
	free := typeSpec("free", tensor.Int16, -1)
	free.Max = 8
	writeTypes(t, dir, "free", []modelpkg.Spec{typeSpec("f", tensor.FP32, 2), free, typeSpec("k", tensor.Int64)},
		[]modelpkg.Spec{typeSpec("scores", tensor.FP32, 2), typeSpec("cut", tensor.Int16, -1), typeSpec("all", tensor.Int16, -1)}, &g)
	w := serveTypes(t, dir)
	for _, way := range []string{"JSON", "binary", "gRPC"} {
		for _, c := range []struct {
			name  string
			k     []int64
			size  int
			fault string
		}{
			{"some", []int64{3, 3}, 5, ""},
			{"none", []int64{0}, 2, ""},
			{"none of several", []int64{0, 0, 0, 0, 0, 0}, 2, ""},
			{"all", []int64{8}, 8, ""},
			{"empty", []int64{1}, 0, `input "free" has shape [items,-1], but [1,0] was sent, which is empty`},
			{"too long", []int64{1}, 9, `input "free" has length 9, but the model takes at most 8 (max in its package)`},
		} {
			t.Run(c.name+" "+way, func(t *testing.T) {
				n := int64(len(c.k))
				numbers := make([]int16, len(c.k)*c.size)
				for i := range numbers {
					numbers[i] = int16(i)
				}
				f, err1 := tensor.Of("f", tensor.Shape{n, 2}, make([]float32, 2*n))
				free, err2 := tensor.Of("free", tensor.Shape{n, int64(c.size)}, numbers)
				k, err3 := tensor.Of("k", tensor.Shape{n}, c.k)
				if err1 != nil || err2 != nil || err3 != nil {
					t.Fatal(err1, err2, err3)
				}
				status, outputs, fault := w.ask(t, way, "free", []tensor.Tensor{f, free, k})
				if c.fault != "" {
					if status != 400 || !strings.Contains(strings.ReplaceAll(fault, `\"`, `"`), c.fault) {
						t.Errorf("%d %s, want %s", status, fault, c.fault)
					}
					return
				}
				if status != 200 {
					t.Fatalf("%d %s", status, fault)
				}
				cut := []int16{}
				for i := range len(c.k) {
					cut = append(cut, numbers[i*c.size:i*c.size+int(c.k[0])]...)
				}
				want, err := tensor.Of("cut", tensor.Shape{n, c.k[0]}, cut)
				if err != nil {
					t.Fatal(err)
				}
				if !outputs[1].Shape.Equal(want.Shape) || !bytes.Equal(outputs[1].Data, want.Data) || !bytes.Equal(outputs[2].Data, free.Data) {
					t.Errorf("%v %v, want %v", outputs[1], outputs[2], want)
				}
			})
		}
	}
}
