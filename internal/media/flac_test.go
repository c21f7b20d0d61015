package media

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"

	"github.com/mewkiz/flac"
	"github.com/mewkiz/flac/frame"
	"github.com/mewkiz/flac/meta"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// channelsOf are the layouts of so many channels.
var channelsOf = map[int]frame.Channels{1: frame.ChannelsMono, 2: frame.ChannelsLR}

// flacFile is a FLAC file of these channels, in frames of at most 16 samples, whose header
// announces so many samples.
func flacFile(t testing.TB, rate uint32, bits uint8, announced uint64, channels ...[]int32) []byte {
	t.Helper()
	var b bytes.Buffer
	info := &meta.StreamInfo{BlockSizeMin: 16, BlockSizeMax: 16, SampleRate: rate, NChannels: uint8(len(channels)), BitsPerSample: bits, NSamples: announced}
	e, err := flac.NewEncoder(&b, info)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(channels[0]); at += 16 {
		end := min(at+16, len(channels[0]))
		f := &frame.Frame{Header: frame.Header{BlockSize: uint16(end - at), SampleRate: rate, Channels: channelsOf[len(channels)], BitsPerSample: bits}}
		for _, c := range channels {
			f.Subframes = append(f.Subframes, &frame.Subframe{SubHeader: frame.SubHeader{Pred: frame.PredVerbatim}, Samples: c[at:end], NSamples: end - at})
		}
		if err := e.WriteFrame(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestFLACIsAsWAV decodes the same sound from FLAC and from WAV.
func TestFLACIsAsWAV(t *testing.T) {
	left, right := make([]int32, 100), make([]int32, 100)
	var mono, stereo []int16
	for i := range left {
		left[i], right[i] = int32(10_000*math.Sin(float64(i)/5)), int32(i*300-15_000)
		mono, stereo = append(mono, int16(left[i])), append(stereo, int16(left[i]), int16(right[i]))
	}
	in := input(modelpkg.MediaAudio, tensor.Int16, 8000, -1)
	for name, c := range map[string]struct{ flac, wav []byte }{
		"mono":          {flacFile(t, 8000, 16, 100, left), wavFile(wavePCM, 1, 8000, 16, pcm16(mono...))},
		"stereo":        {flacFile(t, 8000, 16, 100, left, right), wavFile(wavePCM, 2, 8000, 16, pcm16(stereo...))},
		"resampled":     {flacFile(t, 16000, 16, 100, left), wavFile(wavePCM, 1, 16000, 16, pcm16(mono...))},
		"of any length": {flacFile(t, 8000, 16, 0, left), wavFile(wavePCM, 1, 8000, 16, pcm16(mono...))},
	} {
		if got, want := mustEncode(t, in, c.flac), mustEncode(t, in, c.wav); !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%s: %v, want %v", name, int16s(got.Data), int16s(want.Data))
		}
	}
}

// TestFLACRefusals has files that are damaged, cut off, or longer than they say.
func TestFLACRefusals(t *testing.T) {
	in, sound := input(modelpkg.MediaAudio, tensor.Int16, 8000, -1), make([]int32, 100)
	good := flacFile(t, 8000, 16, 100, sound)
	damaged := bytes.Clone(good)
	damaged[len(damaged)-10] ^= 1
	longer := bytes.Clone(good)
	longer[25] = 50 // of 100 samples
	huge := bytes.Clone(good)
	huge[22] = 0xff // some 4 billion samples
	for name, c := range map[string]struct {
		file []byte
		kind slo.Kind
		want string
	}{
		"cut in a frame":       {good[:len(good)-10], slo.KindInvalid, "damaged or truncated"},
		"cut between frames":   {flacFile(t, 8000, 16, 100, sound)[:42], slo.KindInvalid, "truncated"},
		"damaged":              {damaged, slo.KindInvalid, "damaged"},
		"nothing but a header": {[]byte(flacStart), slo.KindInvalid, "damaged or truncated"},
		"longer than it says":  {longer, slo.KindTooLarge, "longer than it says"},
		"far too long":         {huge, slo.KindTooLarge, "cut it first"},
	} {
		if _, err := Encode(in, c.file); err == nil || slo.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := readFLAC(good, bounds{ctx: ctx, bytes: workBytesMax}); err == nil || err.Kind != slo.KindCancelled {
		t.Errorf("after the end: %v", err)
	}
}

// FuzzFLAC looks for files on which the decoder fails or breaks its bound.
func FuzzFLAC(f *testing.F) {
	f.Add(flacFile(f, 8000, 16, 40, make([]int32, 40)))
	f.Add(flacFile(f, 8000, 8, 0, make([]int32, 20), make([]int32, 20)))
	f.Fuzz(func(t *testing.T, file []byte) {
		samples, _, err := readFLAC(file, bounds{ctx: t.Context(), bytes: 1 << 20})
		if err == nil && len(samples)*sampleWork > 1<<20 {
			t.Errorf("%d samples", len(samples))
		}
	})
}
