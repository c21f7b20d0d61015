package modelpkg

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

// weighted is goodYAML with weights of its two modalities.
func weighted(declared string) string {
	return strings.Replace(goodYAML, "variants:", "  - "+declared+"\nvariants:", 1)
}

func TestWeights(t *testing.T) {
	for declared, want := range map[string]string{
		`{name: modality_weights, datatype: FP32, shape: [2]}`:  "",
		`{name: modality_weights, datatype: INT64, shape: [2]}`: "the output modality_weights must be FP32, FP16 or FP64, not INT64",
		`{name: modality_weights, datatype: FP32, shape: [3]}`:  "the output modality_weights must have the shape [2]: one weight for each of image, sound, not [3]",
	} {
		dir := writePackage(t)
		write(t, dir, FileName, []byte(weighted(declared)))
		weights := value{"modality_weights", 1, nil}
		write(t, dir, "onnx/image.onnx", graphSpec{17, []value{imageIn}, []value{scores, weights}, nil, nil}.encode())
		write(t, dir, "onnx/all.onnx", graphSpec{17, []value{imageIn, gainIn}, []value{scores, weights}, nil, nil}.encode())
		got := strings.Join(lines(dir, Check(dir)), "\n")
		if want == "" && strings.Contains(got, "modality_weights") || !strings.Contains(got, want) {
			t.Errorf("%s:\n%s\nwant %s", declared, got, want)
		}
	}
}

func TestPrimary(t *testing.T) {
	for _, c := range []struct {
		weights []float64
		want    int
	}{{[]float64{0.2, 0.5, 0.3}, 1}, {[]float64{0.5, 0.5, 0}, 0}, {[]float64{0.1, math.NaN(), 0.9}, -1}, {nil, -1}} {
		out := tensor.Tensor{DType: tensor.FP64, Shape: tensor.Shape{1, int64(len(c.weights))}}
		for _, w := range c.weights {
			out.Data = binary.LittleEndian.AppendUint64(out.Data, math.Float64bits(w))
		}
		if got := Primary(out, 0); got != c.want {
			t.Errorf("of %v the primary is %d, want %d", c.weights, got, c.want)
		}
	}
}
