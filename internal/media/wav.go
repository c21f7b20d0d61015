package media

import (
	"encoding/binary"
	"math"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Bounds of a WAV file's header. Rates below or above are not sound a model is
// trained on, and an absurd rate would make the resampler's work absurd.
const (
	rateMin     = 1000
	rateMax     = 384_000
	channelsMax = 16
)

// WAV format tags.
const (
	wavePCM        = 1
	waveFloat      = 3
	waveExtensible = 0xFFFE
)

// wave is the format chunk of a WAV file.
type wave struct {
	tag      uint16
	channels int
	rate     int
	bits     int
}

// readWAV decodes a RIFF/WAVE file of linear PCM (8, 16, 24 or 32 bits) or IEEE
// float (32 bits) and mixes its channels down. Samples are in [-1, 1). A data
// chunk longer than the file, as written by programs that stream to a pipe and
// cannot go back to correct the length, is read to the end of the file.
//
// The reader is our own because those at hand either trust chunk sizes for
// their allocations or read floats as integers.
func readWAV(file []byte) (samples []float64, rate int, err *slo.Error) {
	if len(file) < 12 || string(file[0:4]) != "RIFF" || string(file[8:12]) != "WAVE" {
		return nil, 0, slo.E("", slo.KindInvalid, "not a WAV file")
	}
	var format *wave
	rest := file[12:]
	for len(rest) >= 8 {
		name, size := string(rest[:4]), uint64(binary.LittleEndian.Uint32(rest[4:8]))
		body := rest[8:]
		chunk := body[:min(size, uint64(len(body)))]
		switch name {
		case "fmt ":
			if format, err = readFormat(chunk); err != nil {
				return nil, 0, err
			}
		case "data":
			if format == nil {
				return nil, 0, slo.E("", slo.KindInvalid, "the WAV file has sound before it says in which format")
			}
			if size == 0 {
				chunk = body
			}
			return format.mixDown(chunk), format.rate, nil
		}
		next := min(size+size&1, uint64(len(body))) // chunks are padded to an even length
		rest = body[next:]
	}
	return nil, 0, slo.E("", slo.KindInvalid, "the WAV file holds no sound")
}

// readFormat reads and checks a format chunk.
func readFormat(chunk []byte) (*wave, *slo.Error) {
	if len(chunk) < 16 {
		return nil, slo.E("", slo.KindInvalid, "the WAV file's format chunk is cut short")
	}
	w := &wave{
		tag:      binary.LittleEndian.Uint16(chunk[0:]),
		channels: int(binary.LittleEndian.Uint16(chunk[2:])),
		bits:     int(binary.LittleEndian.Uint16(chunk[14:])),
	}
	rate := binary.LittleEndian.Uint32(chunk[4:])
	if w.tag == waveExtensible && len(chunk) >= 26 {
		w.tag = binary.LittleEndian.Uint16(chunk[24:]) // the sub-format's first two bytes
	}
	pcm := w.tag == wavePCM && (w.bits == 8 || w.bits == 16 || w.bits == 24 || w.bits == 32)
	if !pcm && (w.tag != waveFloat || w.bits != 32) {
		return nil, slo.E("", slo.KindUnsupported,
			"WAV format %d with %d bits; 8, 16, 24 and 32-bit PCM and 32-bit float are read", w.tag, w.bits)
	}
	if w.channels < 1 || w.channels > channelsMax {
		return nil, slo.E("", slo.KindInvalid, "%d channels; 1 to %d are read", w.channels, channelsMax)
	}
	if rate < rateMin || rate > rateMax {
		return nil, slo.E("", slo.KindInvalid, "a sample rate of %d Hz; %d to %d are read", rate, rateMin, rateMax)
	}
	w.rate = int(rate)
	return w, nil
}

// mixDown decodes the whole frames of data and averages each frame's channels.
func (w *wave) mixDown(data []byte) []float64 {
	size := w.bits / 8
	frames := len(data) / (size * w.channels)
	samples := make([]float64, frames)
	for i := range samples {
		sum := 0.0
		for range w.channels {
			sum += w.sample(data)
			data = data[size:]
		}
		samples[i] = sum / float64(w.channels)
	}
	return samples
}

// sample decodes the sample at the head of data. Floats outside [-1, 1] are
// clipped and those that are no number are silence.
func (w *wave) sample(data []byte) float64 {
	switch {
	case w.tag == waveFloat:
		v := float64(math.Float32frombits(binary.LittleEndian.Uint32(data)))
		if math.IsNaN(v) {
			return 0
		}
		return min(max(v, -1), 1)
	case w.bits == 8: // the only unsigned width
		return (float64(data[0]) - 128) / (1 << 7)
	case w.bits == 16:
		return float64(int16(binary.LittleEndian.Uint16(data))) / (1 << 15)
	case w.bits == 24:
		return float64(int32(uint32(data[0])<<8|uint32(data[1])<<16|uint32(data[2])<<24)) / (1 << 31)
	}
	return float64(int32(binary.LittleEndian.Uint32(data))) / (1 << 31)
}
