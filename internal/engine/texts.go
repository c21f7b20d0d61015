package engine

import (
	"bytes"
	"slices"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// rows are the bytes of n rows of an output, a view.
func rows(out tensor.Tensor, first, n int) []byte {
	size := len(out.Data) / out.Rows()
	begin, end := first*size, (first+n)*size
	if out.DType == tensor.Bytes {
		all := out.Split()
		begin = 0
		for _, row := range all[:first] {
			begin += len(row)
		}
		end = begin
		for _, row := range all[first : first+n] {
			end += len(row)
		}
	}
	return out.Data[begin:end:end]
}

// gathered are the rows of an output of texts, which have no size in common: they are
// kept apart until the job ends.
type gathered struct {
	rows  [][]byte // by item; nil: none came
	bytes int
}

// put takes the rows of a part.
func (g *gathered) put(first int, out tensor.Tensor) error {
	for i, row := range out.Split() {
		g.rows[first+i] = row
	}
	if g.bytes += len(out.Data); g.bytes > answerBytesMax {
		return slo.E("", slo.KindTooLarge, "the texts of output %q have more than %d bytes together: send fewer items", out.Name, answerBytesMax)
	}
	return nil
}

// data are all rows after each other. An item without an answer has empty texts.
func (g *gathered) data(shape tensor.Shape) []byte {
	each, _ := shape[1:].Elements() // of an output that was checked
	none := make([]byte, 4*each)
	rows := slices.Clone(g.rows)
	for i, row := range rows {
		if row == nil {
			rows[i] = none
		}
	}
	return bytes.Join(rows, nil)
}
