package replay

import (
	"math"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// scale is the span of the numbers that an input may have.
type scale struct {
	low, high float64
	mirror    float64 // the sum of a number and its mirror image
	whole     bool
}

// scaleOf is the declared range of an input or else the span of its type. Floats without
// a range may have any value; full scale is then 1, as it is for sound.
func scaleOf(in modelpkg.Input) scale {
	s := scale{low: -math.MaxFloat64, high: math.MaxFloat64}
	switch in.DType {
	case tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64:
		s.low, s.high, s.whole = 0, largest(8*in.DType.Size()), true
		s.mirror = s.high
	case tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64:
		s.low, s.high, s.whole = -math.Ldexp(1, 8*in.DType.Size()-1), largest(8*in.DType.Size()-1), true
	case tensor.FP16:
		s.low, s.high = -65504, 65504
	case tensor.FP32, tensor.BF16:
		s.low, s.high = -math.MaxFloat32, math.MaxFloat32
	default:
	}
	if in.Range != nil {
		s.low, s.high = max(s.low, in.Range.Low), min(s.high, in.Range.High)
		s.mirror = s.low + s.high
	}
	return s
}

// largest is the largest integer of so many bits that a float64 has.
func largest(bits int) float64 {
	if bits > 53 {
		return math.Nextafter(math.Ldexp(1, bits), 0)
	}
	return math.Ldexp(1, bits) - 1
}

// full is full scale: what the level of a noise is a share of.
func (s scale) full() float64 {
	switch {
	case s.low == 0:
		return s.high
	case !s.whole && s.high > 1<<15: // any value
		return 1
	case s.low < 0 && s.high > 0:
		return max(-s.low, s.high)
	}
	return s.high - s.low
}

// fit returns the closest number that the input may have.
func (s scale) fit(v float64) float64 {
	if s.whole {
		v = math.Round(v)
	}
	return min(max(v, s.low), s.high)
}

// change returns a copy of an input's data with changed numbers. What only fills a
// sample up to its bucket stays.
func change(in modelpkg.Input, data []byte, by func(float64) float64) []byte {
	s, own := scaleOf(in), len(in.Own(data))
	out := make([]byte, 0, len(data))
	for _, v := range numbersOf(in.DType, data[:own]) {
		out = append(out, modelpkg.Element(in.DType, s.fit(by(v)))...)
	}
	return append(out, data[own:]...)
}

// numbersOf reads the elements of a tensor as numbers.
func numbersOf(d tensor.DType, data []byte) []float64 {
	size := d.Size()
	numbers := make([]float64, len(data)/size)
	for i := range numbers {
		numbers[i] = modelpkg.NumberAt(d, data[i*size:])
	}
	return numbers
}
