package modelpkg

import (
	"bytes"
	"fmt"
	"math"

	"github.com/mosel-serve/mosel/tensor"
)

// InputProfile says what an input of the labelled samples is like. A server compares what
// it gets with that.
type InputProfile struct {
	Name      string  `json:"name"`
	Level     float64 `json:"level"`     // the mean of Input.Level
	Deviation float64 `json:"deviation"` // its standard deviation
	Blank     float64 `json:"blank"`     // the share of blank samples
}

// levelElements is about how many elements of an input its level is taken from, spread
// evenly: more would take longer and say the same.
const levelElements = 2048

// Level says how much there is in one sample of an input: the mean of the elements'
// absolute values, which is brightness for a picture and loudness for sound; for texts
// their length in bytes. The sample is blank if all those elements are equal, or the text
// has no letters: a black picture, silence, no words. What fills the sample up to its
// bucket does not count.
func (in *Input) Level(data []byte) (level float64, blank bool) {
	if in.DType == tensor.Bytes {
		text := bytes.TrimSpace(data[min(4, len(data)):])
		return float64(len(text)), len(text) == 0
	}
	data = in.Own(data)
	size := in.DType.Size()
	n := len(data) / size
	if n == 0 {
		return 0, true
	}
	sum, seen, every := 0.0, 0.0, max(1, n/levelElements)
	blank = true
	for i := 0; i < n; i += every {
		sum += math.Abs(NumberAt(in.DType, data[i*size:]))
		seen++
		blank = blank && bytes.Equal(data[i*size:(i+1)*size], data[:size])
	}
	return sum / seen, blank
}

// Own returns the part of a sample that does not only fill it up to its bucket.
func (in *Input) Own(data []byte) []byte {
	if in.Buckets == nil {
		return data
	}
	for size := in.DType.Size(); len(data) >= size && bytes.Equal(data[len(data)-size:], in.Buckets.Pad); {
		data = data[:len(data)-size]
	}
	return data
}

// ProfileInputs measures the inputs of a labelled set, in the model's order.
func ProfileInputs(m *Model, s *Set) []InputProfile {
	list := make([]InputProfile, len(m.Inputs))
	for k := range m.Inputs {
		sum, squares, blanks, n := 0.0, 0.0, 0.0, float64(max(1, s.Len()))
		for i := range s.Len() {
			level, blank := m.Inputs[k].Level(s.Item(i)[k])
			sum, squares = sum+level, squares+level*level
			if blank {
				blanks++
			}
		}
		mean := sum / n
		list[k] = InputProfile{Name: m.Inputs[k].Name, Level: micro(mean), Deviation: micro(math.Sqrt(max(0, squares/n-mean*mean))), Blank: micro(blanks / n)}
	}
	return list
}

// checkInputs checks what a profile says of the model's inputs; an older one says nothing.
func checkInputs(list []InputProfile, m *Model) error {
	if len(list) != 0 && len(list) != len(m.Inputs) {
		return fmt.Errorf("it has %d inputs; the model has %d", len(list), len(m.Inputs))
	}
	for k, in := range list {
		if in.Name != m.Inputs[k].Name {
			return fmt.Errorf("input %d is %s; the model's is %s", k, in.Name, m.Inputs[k].Name)
		}
		if !(in.Level >= 0 && in.Deviation >= 0 && in.Blank >= 0 && in.Blank <= 1) {
			return fmt.Errorf("input %s: a level of %v ± %v, %v of it blank, is not possible", in.Name, in.Level, in.Deviation, in.Blank)
		}
	}
	return nil
}
