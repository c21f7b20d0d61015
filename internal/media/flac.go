package media

import (
	"context"
	"errors"
	"io"

	"github.com/mewkiz/flac"
	"github.com/mewkiz/flac/frame"

	"github.com/mosel-serve/mosel/internal/slo"
)

// flacStart is how FLAC files begin.
const flacStart = "fLaC"

// sampleWork is the memory that a sample needs: itself, and again after resampling.
const sampleWork = 16

// readFLAC decodes a FLAC file and averages its channels. Samples are in [-1, 1]. A few
// bytes can stand for many samples, so the bound holds for what is read, whatever the
// file says of its length.
func readFLAC(file []byte, b bounds) (samples []float64, rate int, err *slo.Error) {
	defer func() {
		if p := recover(); p != nil {
			samples, err = nil, slo.E("", slo.KindInvalid, "the FLAC file is damaged: %v", p)
		}
	}()
	stream, failed := flac.New(&slowReader{b.ctx, file})
	if failed != nil {
		return nil, 0, flacError(failed)
	}
	info := stream.Info
	if info.SampleRate < rateMin || info.SampleRate > rateMax {
		return nil, 0, slo.E("", slo.KindInvalid, "a sample rate of %d Hz; %d to %d are read", info.SampleRate, rateMin, rateMax)
	}
	most := uint64(b.bytes / sampleWork)
	if info.NSamples > most {
		return nil, 0, errTooManySamples(info.NSamples, b)
	}
	need := int64(info.NSamples) * sampleWork
	if info.NSamples == 0 { // it does not say
		need = b.bytes
	}
	if err := b.reserve(need); err != nil {
		return nil, 0, err
	}
	samples = make([]float64, 0, info.NSamples)
	for {
		f, failed := stream.ParseNext()
		if errors.Is(failed, io.EOF) {
			break
		}
		if failed != nil {
			return nil, 0, flacError(failed)
		}
		if b.ctx.Err() != nil {
			return nil, 0, flacError(b.ctx.Err())
		}
		if f.SampleRate != 0 && f.SampleRate != info.SampleRate || len(f.Subframes) != int(info.NChannels) {
			return nil, 0, slo.E("", slo.KindInvalid, "the FLAC file changes its sample rate or its channels on the way")
		}
		samples = appendFrame(samples, f, info.BitsPerSample)
		if n := uint64(len(samples)); n > most || info.NSamples > 0 && n > info.NSamples {
			return nil, 0, errTooManySamples(n, b)
		}
	}
	if info.NSamples > uint64(len(samples)) {
		return nil, 0, slo.E("", slo.KindInvalid, "the FLAC file is truncated: its header announces %d samples, and there are %d", info.NSamples, len(samples))
	}
	return samples, int(info.SampleRate), nil
}

// appendFrame averages the channels of a frame, whose samples have this many bits if it
// does not say.
func appendFrame(samples []float64, f *frame.Frame, bits uint8) []float64 {
	if f.BitsPerSample != 0 {
		bits = f.BitsPerSample
	}
	full := float64(int64(1)<<(bits-1)) * float64(len(f.Subframes))
	for i := range f.Subframes[0].Samples {
		sum := 0.0
		for _, channel := range f.Subframes {
			sum += float64(channel.Samples[i])
		}
		samples = append(samples, sum/full)
	}
	return samples
}

// errTooManySamples returns the error of a recording that is too long.
func errTooManySamples(n uint64, b bounds) *slo.Error {
	return slo.E("", slo.KindTooLarge, "a recording of %d samples needs %d MB to read, or is longer than it says; the bound is %d MB: cut it first", n, n*sampleWork>>20, b.bytes>>20)
}

func flacError(err error) *slo.Error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return slo.E("", slo.KindCancelled, "%w", err)
	}
	return slo.E("", slo.KindInvalid, "the FLAC file is damaged or truncated: %w", err)
}
