package ort

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

// TestDivisionsWithoutResult checks that the lowest integer divided by -1 gives itself,
// with remainder 0, and that other results do not change.
func TestDivisionsWithoutResult(t *testing.T) {
	a := []int64{0, math.MinInt64, 7, -7, 100, math.MinInt64, math.MinInt64 + 1, 9}
	b := []int64{3, -1, -1, 2, 7, 2, -1, 4}
	for _, d := range []tensor.DType{tensor.Int32, tensor.Int64} {
		for _, op := range []string{"Div", "Mod"} {
			t.Run(op+" of "+d.String(), func(t *testing.T) {
				dir := t.TempDir()
				var g graph
				g.input("a", d, -1, len(a))
				g.input("b", d, -1, len(b))
				g.node(op, []string{"a", "b"}, []string{"q"})
				g.output("q", d, -1, len(a))
				g.write(t, dir, "graph.onnx")
				n := int64(len(a))
				in := load(t, one(dir, []modelpkg.Spec{spec("a", d, n), spec("b", d, n)}, []modelpkg.Spec{spec("q", d, n)}))
				for range 100 {
					out, err := in.Run(t.Context(), 0, []runtime.Item{{wholesOf(d, a), wholesOf(d, b)}})
					if err != nil {
						t.Fatal(err)
					}
					if want := quotients(op, d, a, b); !slices.Equal(out[0].Data, want) {
						t.Fatalf("% x, want % x", out[0].Data, want)
					}
				}
			})
		}
	}
}

// wholesOf returns integers as bytes; in 32 bits the lowest int64 becomes the lowest
// int32.
func wholesOf(d tensor.DType, list []int64) (data []byte) {
	for _, v := range list {
		if d == tensor.Int64 {
			data = binary.LittleEndian.AppendUint64(data, uint64(v))
			continue
		}
		data = binary.LittleEndian.AppendUint32(data, uint32(narrow(v)))
	}
	return data
}

func narrow(v int64) int32 { return int32(max(math.MinInt32, min(v, math.MaxInt32))) }

// quotients returns Go's results, which wrap around, for the same numbers. The result
// of ONNX's integer Mod has the sign of the divisor.
func quotients(op string, d tensor.DType, a, b []int64) []byte {
	var list []int64
	for i := range a {
		x, y := a[i], b[i]
		if d == tensor.Int32 {
			x, y = int64(narrow(x)), int64(narrow(y))
		}
		q := x / y
		if d == tensor.Int32 {
			q = int64(int32(q))
		}
		if op == "Mod" {
			if q = x % y; q != 0 && (q < 0) != (y < 0) {
				q += y
			}
		}
		list = append(list, q)
	}
	if d == tensor.Int64 {
		return wholesOf(d, list)
	}
	var data []byte
	for _, v := range list {
		data = binary.LittleEndian.AppendUint32(data, uint32(int32(v)))
	}
	return data
}
