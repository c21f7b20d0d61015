package modelpkg

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/mosel-serve/mosel/tensor"
)

// BestClass reads the answer for one item of a batch: the class with the highest
// score, the first of equals, and that score. Scores are FP32 [items, classes].
func BestClass(scores tensor.Tensor, item int) (class int, score float32, err error) {
	if scores.DType != tensor.FP32 || len(scores.Shape) != 2 || scores.Shape[1] < 1 || item >= scores.Rows() {
		return 0, 0, fmt.Errorf("the output %s is %v %v, not FP32 [items, classes] of more than %d items", scores.Name, scores.DType, scores.Shape, item)
	}
	data := scores.Row(item)
	score = float32(math.Inf(-1))
	for i := 0; i < len(data)/4; i++ {
		s := math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		if s != s {
			return 0, 0, fmt.Errorf("the score of class %d is not a number", i)
		}
		if s > score {
			class, score = i, s
		}
	}
	return class, score, nil
}
