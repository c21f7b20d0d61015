package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// crossings is the half-width of the resampling filter, in zero crossings of its sinc.
// With 16 the pass band is flat up to about 90 % of half of the lower rate.
const crossings = 16

// encodeAudio decodes a WAV file, resamples it to the input's rate and fits it to the
// declared length: a shorter recording is padded with zeros at its end, a longer one is
// cut to its loudest part.
func encodeAudio(in modelpkg.Input, file []byte, b bounds) (tensor.Shape, []byte, *slo.Error) {
	if len(in.Shape) != 1 || (in.DType != tensor.Int16 && in.DType != tensor.FP32) {
		return nil, nil, slo.E("", slo.KindUnsupported, "a recording can fill an input of INT16 or FP32 [samples], not of %v %v", in.DType, in.Shape)
	}
	if in.SampleRate < rateMin || in.SampleRate > rateMax {
		return nil, nil, slo.E("", slo.KindUnsupported, "the model declares a sample rate of %d Hz", in.SampleRate)
	}
	read := readWAV
	if bytes.HasPrefix(file, []byte(flacStart)) {
		read = readFLAC
	}
	samples, rate, err := read(file, b)
	if err != nil {
		return nil, nil, err
	}
	if len(samples) == 0 {
		return nil, nil, slo.E("", slo.KindInvalid, "the WAV file has no sound")
	}
	// Cut before resampling, so that the input's length bounds the work.
	n, err := length(in.Shape[0], max(1, len(samples)*in.SampleRate/rate))
	if err != nil {
		return nil, nil, err
	}
	samples = loudest(samples, (n*rate+in.SampleRate-1)/in.SampleRate)
	if samples, err = resample(b.ctx, samples, rate, in.SampleRate); err != nil {
		return nil, nil, err
	}
	return tensor.Shape{int64(n)}, pcm(samples, n, in.DType), nil
}

// resample changes the rate with a Hann-windowed sinc filter that cuts off at half of
// the lower rate, to avoid aliasing. It does nothing if the rates are equal.
func resample(ctx context.Context, x []float64, from, to int) ([]float64, *slo.Error) {
	if from == to {
		return x, nil
	}
	step := float64(from) / float64(to)
	cut := min(1, 1/step) // cut-off, relative to half of the source's rate
	half := crossings / cut
	out := make([]float64, max(1, int(float64(len(x))/step)))
	for i := range out {
		if i%resampleStep == 0 && ctx.Err() != nil {
			return nil, slo.E("", slo.KindCancelled, "%w", ctx.Err())
		}
		centre := float64(i) * step
		first, last := max(0, int(math.Ceil(centre-half))), min(len(x)-1, int(centre+half))
		sum, weights := 0.0, 0.0
		for j := first; j <= last; j++ {
			w := kernel((float64(j)-centre)*cut, crossings)
			sum += w * x[j]
			weights += w
		}
		if math.Abs(weights) > 1e-9 {
			out[i] = sum / weights
		}
	}
	return out, nil
}

// resampleStep is how many samples are made between two looks at the context.
const resampleStep = 1024

// kernel returns the windowed sinc at t zero crossings from its centre.
func kernel(t, half float64) float64 {
	if t == 0 {
		return 1
	}
	if math.Abs(t) >= half {
		return 0
	}
	return math.Sin(math.Pi*t) / (math.Pi * t) * (0.5 + 0.5*math.Cos(math.Pi*t/half))
}

// loudest returns the n consecutive samples with the most energy, the earliest if
// several are equal; all of x if it has at most n samples.
func loudest(x []float64, n int) []float64 {
	if len(x) <= n {
		return x
	}
	energy := 0.0
	for _, v := range x[:n] {
		energy += v * v
	}
	best, at := energy, 0
	for i := n; i < len(x); i++ {
		energy += x[i]*x[i] - x[i-n]*x[i-n]
		if energy > best*(1+1e-9)+1e-12 { // ignore rounding errors
			best, at = energy, i-n+1
		}
	}
	return x[at : at+n]
}

// pcm writes samples as little-endian INT16 or FP32, cut or zero-padded to n.
func pcm(x []float64, n int, dtype tensor.DType) []byte {
	data := make([]byte, n*dtype.Size())
	for i, v := range x[:min(n, len(x))] {
		if dtype == tensor.FP32 {
			binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(float32(v)))
			continue
		}
		v = min(max(math.Round(v*(1<<15)), math.MinInt16), math.MaxInt16)
		binary.LittleEndian.PutUint16(data[2*i:], uint16(int16(v)))
	}
	return data
}
