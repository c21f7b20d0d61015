package media

import (
	"encoding/binary"
	"math"

	"github.com/mosel-serve/mosel/internal/slo"
)

// WAV format tags.
const (
	wavePCM        = 1
	waveFloat      = 3
	waveALaw       = 6
	waveMuLaw      = 7
	waveExtensible = 0xFFFE
)

// waveNames are formats that are not supported, so that an error can name them.
var waveNames = map[uint16]string{2: "Microsoft ADPCM", 0x11: "IMA ADPCM", 0x22: "TrueSpeech", 0x31: "GSM 6.10", 0x50: "MPEG", 0x55: "MP3",
	0x161: "WMA", 0x2000: "AC-3", 0xF1AC: "FLAC"}

// waveGUID ends the sub-format of an extensible format whose first two bytes are a
// format tag.
const waveGUID = "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"

// format is the format chunk of a WAV file.
type format struct {
	tag      uint16
	channels int
	rate     int
	bits     int // valid bits of a sample
	width    int // bytes of a sample
}

// readFormat reads and checks a format chunk.
func readFormat(chunk []byte) (*format, *slo.Error) {
	if len(chunk) < 16 {
		return nil, slo.E("", slo.KindInvalid, "the WAV file's format chunk is truncated")
	}
	f := &format{
		tag:      binary.LittleEndian.Uint16(chunk[0:]),
		channels: int(binary.LittleEndian.Uint16(chunk[2:])),
		bits:     int(binary.LittleEndian.Uint16(chunk[14:])),
	}
	rate, frame := binary.LittleEndian.Uint32(chunk[4:]), int(binary.LittleEndian.Uint16(chunk[12:]))
	if f.channels < 1 || f.channels > channelsMax {
		return nil, slo.E("", slo.KindInvalid, "the recording has %d channels; 1 to %d are supported", f.channels, channelsMax)
	}
	if rate < rateMin || rate > rateMax {
		return nil, slo.E("", slo.KindInvalid, "the recording has a sample rate of %d Hz; %d to %d are supported", rate, rateMin, rateMax)
	}
	f.rate = int(rate)
	if f.tag == waveExtensible {
		if err := f.extend(chunk); err != nil {
			return nil, err
		}
	}
	if name := waveNames[f.tag]; name != "" {
		return nil, slo.E("", slo.KindUnsupported, "WAV format %d (%s) is not supported; %s", f.tag, name, waveRead)
	}
	if frame%f.channels != 0 {
		return nil, slo.E("", slo.KindInvalid, "the WAV file contradicts itself: %d channels do not fit frames of %d bytes", f.channels, frame)
	}
	f.width = frame / f.channels
	return f, f.check()
}

// extend reads the rest of an extensible format: the real format of the samples, and
// the number of their valid bits.
func (f *format) extend(chunk []byte) *slo.Error {
	if len(chunk) < 40 {
		return slo.E("", slo.KindInvalid, "the WAV file's format chunk is truncated")
	}
	f.tag = binary.LittleEndian.Uint16(chunk[24:])
	if string(chunk[26:40]) != waveGUID || f.tag == waveExtensible {
		return slo.E("", slo.KindUnsupported, "a WAV sub-format %x is not known; %s", chunk[24:40], waveRead)
	}
	valid := int(binary.LittleEndian.Uint16(chunk[18:]))
	if valid > f.bits {
		return slo.E("", slo.KindInvalid, "the WAV file contradicts itself: %d of %d bits are valid", valid, f.bits)
	}
	if f.tag == wavePCM && valid > 0 {
		f.bits = valid
	}
	return nil
}

const waveRead = "PCM of 8 to 32 bits, float of 32 and 64, mu-law and A-law are supported: convert it, for example with ffmpeg -i FILE sound.wav"

// check refuses formats that are not supported, and sizes that do not match the bits.
func (f *format) check() *slo.Error {
	want := (f.bits + 7) / 8
	switch {
	case f.tag == wavePCM && f.bits == 8,
		f.tag == waveFloat && (f.bits == 32 || f.bits == 64),
		(f.tag == waveALaw || f.tag == waveMuLaw) && f.bits == 8:
		if f.width != want {
			break
		}
		return nil
	case f.tag == wavePCM && f.bits > 8 && f.bits <= 32:
		if f.width < want || f.width > 4 {
			break
		}
		return nil
	default:
		return slo.E("", slo.KindUnsupported, "WAV format %d with %d bits is not supported; %s", f.tag, f.bits, waveRead)
	}
	return slo.E("", slo.KindInvalid, "the WAV file contradicts itself: samples of %d bits in %d bytes", f.bits, f.width)
}

// decode reads the whole frames of data and averages each frame's channels.
func (f *format) decode(data []byte) ([]float64, *slo.Error) {
	frames := len(data) / (f.width * f.channels)
	if frames > framesMax {
		return nil, slo.E("", slo.KindTooLarge, "the recording has %d samples; at most %d are supported", frames, framesMax)
	}
	data = data[:frames*f.width*f.channels]
	if f.rightAligned(data) {
		return nil, slo.E("", slo.KindInvalid, "the WAV file has samples of %d bits at the wrong end of their %d bytes", f.bits, f.width)
	}
	samples := make([]float64, frames)
	for i := range samples {
		sum := 0.0
		for range f.channels {
			v := f.sample(data)
			if math.IsNaN(v) {
				return nil, slo.E("", slo.KindInvalid, "sample %d of the WAV file is not a number", i)
			}
			sum += v
			data = data[f.width:]
		}
		samples[i] = sum / float64(f.channels)
	}
	return samples, nil
}

// rightAligned reports whether samples with fewer bits than their bytes are in the
// lower bits. They belong into the upper bits, with zeros below; otherwise the sound
// would be far too quiet.
func (f *format) rightAligned(data []byte) bool {
	spare := 8*f.width - f.bits
	if f.tag != wavePCM || f.bits <= 8 || spare == 0 {
		return false
	}
	padded, small := true, true
	for ; len(data) > 0; data = data[f.width:] {
		v := f.integer(data)
		padded = padded && uint32(v)<<f.bits == 0
		small = small && v>>(31-spare) == v>>31
	}
	return !padded && small
}

// integer returns the signed sample at the start of data, in the upper bits of 32.
func (f *format) integer(data []byte) int32 {
	var v uint32
	for i := range f.width {
		v |= uint32(data[i]) << (32 - 8*(f.width-i))
	}
	return int32(v)
}

// sample decodes the sample at the start of data. Floats outside [-1, 1] are clipped.
func (f *format) sample(data []byte) float64 {
	switch {
	case f.tag == waveFloat && f.bits == 64:
		return min(max(math.Float64frombits(binary.LittleEndian.Uint64(data)), -1), 1)
	case f.tag == waveFloat:
		return min(max(float64(math.Float32frombits(binary.LittleEndian.Uint32(data))), -1), 1)
	case f.tag == waveMuLaw:
		return muLaw(data[0])
	case f.tag == waveALaw:
		return aLaw(data[0])
	case f.bits == 8: // the only unsigned width
		return (float64(data[0]) - 128) / (1 << 7)
	}
	return float64(f.integer(data)) / (1 << 31)
}

// muLaw expands a sample of G.711 mu-law to 14 bits.
func muLaw(code byte) float64 {
	code = ^code
	v := (int(code&0x0F)<<1+33)<<(code>>4&7) - 33
	if code&0x80 != 0 {
		v = -v
	}
	return float64(v) / (1 << 13)
}

// aLaw expands a sample of G.711 A-law to 13 bits.
func aLaw(code byte) float64 {
	code ^= 0x55
	v := int(code&0x0F)<<1 + 1
	if segment := code >> 4 & 7; segment > 0 {
		v = (v + 32) << (segment - 1)
	}
	if code&0x80 == 0 {
		v = -v
	}
	return float64(v) / (1 << 12)
}
