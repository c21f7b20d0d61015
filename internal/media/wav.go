package media

import (
	"bytes"
	"encoding/binary"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Bounds of a WAV file. Models are not trained on lower or higher rates, and an absurd
// rate would cause an absurd amount of work in the resampler. Resampling framesMax
// samples needs half a gigabyte.
const (
	rateMin     = 1000
	rateMax     = 384_000
	channelsMax = 16
	framesMax   = 64 << 20
)

// Sizes of a data chunk that mean "unknown". Programs that write to a pipe do not know
// the length when they write the header, and cannot correct it later. They write all
// ones, or a very large number.
const (
	unknownSize = 0xFFFFFFFF
	streamSize  = 0x7FFF0000 // this and more
)

// recording is a parsed WAV file.
type recording struct {
	format *format
	data   []byte // the frames
}

// readWAV decodes a RIFF/WAVE file, also in the 64-bit forms RF64 and BW64, and
// averages its channels. Samples are in [-1, 1]. The file's fields must be consistent,
// except for an unknown length.
//
// The reader is our own because existing libraries trust chunk sizes for their
// allocations, read floats as integers, or read what follows an empty data chunk as
// sound.
func readWAV(file []byte, b bounds) (samples []float64, rate int, err *slo.Error) {
	r, err := openWAV(file)
	if err != nil {
		return nil, 0, err
	}
	need := int64(len(r.data)/(r.format.width*r.format.channels)) * sampleWork
	if need > b.bytes {
		return nil, 0, slo.E("", slo.KindTooLarge, "a recording of %d samples takes %d MB to read, more than %d: cut it first", need/sampleWork, need>>20, b.bytes>>20)
	}
	if err := b.reserve(need); err != nil {
		return nil, 0, err
	}
	samples, err = r.format.decode(r.data)
	return samples, r.format.rate, err
}

// openWAV finds the format and the data.
func openWAV(file []byte) (r recording, err *slo.Error) {
	if err := isWAV(file); err != nil {
		return r, err
	}
	var data64 uint64 // the size of the data, which an RF64 file has in a separate chunk
	rest := file[12:]
	for len(rest) >= 8 {
		name, size := string(rest[:4]), uint64(binary.LittleEndian.Uint32(rest[4:8]))
		body := rest[8:]
		chunk := body[:min(size, uint64(len(body)))]
		switch name {
		case "ds64":
			if len(chunk) >= 16 {
				data64 = binary.LittleEndian.Uint64(chunk[8:])
			}
		case "fmt ":
			if r.format != nil {
				return r, slo.E("", slo.KindInvalid, "the WAV file has two format chunks")
			}
			if r.format, err = readFormat(chunk); err != nil {
				return r, err
			}
		case "data":
			if r.format == nil {
				return r, slo.E("", slo.KindInvalid, "the WAV file has data before its format chunk")
			}
			if size == unknownSize && data64 > 0 {
				size = data64
			}
			r.data, err = dataOf(file, body, size)
			return r, err
		}
		next := min(size+size&1, uint64(len(body))) // chunks are padded to an even length
		rest = body[next:]
	}
	return r, slo.E("", slo.KindInvalid, "the WAV file holds no sound")
}

// isWAV checks the first twelve bytes.
func isWAV(file []byte) *slo.Error {
	if len(file) < 12 || string(file[8:12]) != "WAVE" {
		return slo.E("", slo.KindInvalid, "not a WAV or FLAC file%s", otherKind(file))
	}
	switch form := string(file[:4]); form {
	case "RIFF", "RF64", "BW64":
		return nil
	case "RIFX":
		return slo.E("", slo.KindUnsupported, "a big-endian WAV file (RIFX); save it as an ordinary one (RIFF)")
	}
	return slo.E("", slo.KindInvalid, "not a WAV file")
}

// dataOf returns the content of a data chunk of the given size; body begins with the
// content.
func dataOf(file, body []byte, size uint64) ([]byte, *slo.Error) {
	riff := binary.LittleEndian.Uint32(file[4:8])
	switch {
	case size >= streamSize && size <= unknownSize:
		return body, nil
	case size == 0 && (riff == 0 || riff >= streamSize):
		return body, nil // the length is unknown
	case size == 0 && len(body) > 0 && uint64(riff)+8 <= uint64(len(file)-len(body)):
		return nil, slo.E("", slo.KindInvalid, "the WAV file's header says that there is no sound, but %d bytes follow: the header was not completed", len(body))
	case size == 0:
		return nil, slo.E("", slo.KindInvalid, "the WAV file holds no sound")
	case size > uint64(len(body)):
		return nil, slo.E("", slo.KindInvalid, "the WAV file is truncated: its header announces %d bytes of sound, and there are %d", size, len(body))
	}
	return body[:size], nil
}

// otherKinds are the first bytes of other audio formats.
var otherKinds = []struct{ prefix, kind string }{
	{"ID3", "MP3"}, {"\xff\xfb", "MP3"}, {"OggS", "Ogg"}, {"FORM", "AIFF"}, {"\x1aE\xdf\xa3", "WebM"},
	{"caff", "CAF"}, {".snd", "AU"}, {"#!AMR", "AMR"},
}

// otherKind names the other audio format of a file, "" if it is not known.
func otherKind(file []byte) string {
	for _, other := range otherKinds {
		if bytes.HasPrefix(file, []byte(other.prefix)) {
			return " but " + other.kind + ": convert it, for example with ffmpeg -i FILE sound.wav"
		}
	}
	if len(file) >= 8 && string(file[4:8]) == "ftyp" {
		return " but MP4 or M4A: convert it, for example with ffmpeg -i FILE sound.wav"
	}
	return ""
}
