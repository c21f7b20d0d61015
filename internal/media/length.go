package media

import (
	"bytes"
	"math"

	"github.com/mewkiz/flac"

	"github.com/mosel-serve/mosel/internal/modelpkg"
)

// CountedTextMax bounds a text that is made into tokens before it is known whether they are
// read: their number decides about the item's bucket. What is longer counts as the longest.
const CountedTextMax = 16 << 10

// Length returns how many elements an input will have in its dimension of -1 once it is
// made of a file, without reading more of the file than that takes. If the file does not
// say, or cannot be read, the result is larger than any input.
func Length(in modelpkg.Input, file []byte) (n int) {
	defer func() {
		if recover() != nil { // in a decoder that is not ours
			n = math.MaxInt32
		}
	}()
	switch {
	case in.Tokens != nil && len(file) > CountedTextMax:
	case in.Tokens != nil:
		if n, _, _, err := encodeTokens(in, file); err == nil {
			return n
		}
	case in.Media == modelpkg.MediaText:
		return len(file)
	case bytes.HasPrefix(file, []byte(flacStart)):
		stream, err := flac.New(bytes.NewReader(file))
		if err == nil && stream.Info.NSamples > 0 && stream.Info.NSamples < math.MaxInt32 && stream.Info.SampleRate > 0 {
			return max(1, int(stream.Info.NSamples)*in.SampleRate/int(stream.Info.SampleRate))
		}
	case in.Media == modelpkg.MediaAudio:
		r, err := openWAV(file)
		if err == nil && r.format.check() == nil {
			return max(1, len(r.data)/(r.format.width*r.format.channels)*in.SampleRate/r.format.rate)
		}
	}
	return math.MaxInt32
}
