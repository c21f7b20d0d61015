package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

// floatBits has numbers of every floating-point type: some finite ones, then +Inf, -Inf
// and NaNs.
var floatBits = map[tensor.DType]struct{ finite, infinite []uint64 }{
	tensor.FP16: {[]uint64{0, 0x8000, 0x3c00, 0x7bff, 0xfbff, 0x0001, 0x83ff}, []uint64{0x7c00, 0xfc00, 0x7c01, 0x7e00, 0xffff}},
	tensor.BF16: {[]uint64{0, 0x8000, 0x3f80, 0x7f7f, 0xff7f, 0x0001, 0x807f}, []uint64{0x7f80, 0xff80, 0x7f81, 0x7fc0, 0xffff}},
	tensor.FP32: {[]uint64{0, 0x80000000, 0x7f7fffff, 0xff7fffff, 0x00000001, 0x807fffff}, []uint64{0x7f800000, 0xff800000, 0x7f800001, 0x7fc00000, 0xffffffff}},
	tensor.FP64: {[]uint64{0, 1 << 63, math.Float64bits(math.MaxFloat64), math.Float64bits(-math.MaxFloat64), 1},
		[]uint64{math.Float64bits(math.Inf(1)), math.Float64bits(math.Inf(-1)), 0x7ff0000000000001, 0x7ff8000000000000, math.MaxUint64}},
}

func appendBits(data []byte, d tensor.DType, bits uint64) []byte {
	return append(data, binary.LittleEndian.AppendUint64(nil, bits)[:d.Size()]...)
}

func TestFinite(t *testing.T) {
	for d, bits := range floatBits {
		for n := range 40 {
			var data []byte
			for i := range n {
				data = appendBits(data, d, bits.finite[i%len(bits.finite)])
			}
			if !finite(d, data) {
				t.Errorf("%d finite %v are not", n, d)
			}
			for i := range n {
				for k, b := range bits.infinite {
					spoilt := appendBits(append([]byte{}, data[:i*d.Size()]...), d, b)
					spoilt = append(spoilt, data[(i+1)*d.Size():]...)
					want := []string{"+Inf", "-Inf", "NaN", "NaN", "NaN"}[k]
					if got := culprit(d, spoilt); finite(d, spoilt) || got != want {
						t.Errorf("%v %#x at %d of %d: %s, want %s", d, b, i, n, got, want)
					}
				}
			}
		}
	}
	if !finite(tensor.Int64, []byte{255, 255, 255, 255, 255, 255, 255, 255}) {
		t.Error("an integer is not finite")
	}
}

// BenchmarkFinite checks as much data as a classifier returns for a batch of 32, and as
// a batch of images has.
func BenchmarkFinite(b *testing.B) {
	for _, size := range []int{32 * 10 * 4, 32 * 1000 * 4, 3 * 224 * 224 * 4} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			data := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				if !finite(tensor.FP32, data) {
					b.Fatal()
				}
			}
		})
	}
}
