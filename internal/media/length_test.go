package media

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/media/tokenizer"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// sized gives an input buckets of these lengths.
func sized(in modelpkg.Input, cut bool, lengths ...int64) modelpkg.Input {
	in.Buckets = &modelpkg.Buckets{Cut: cut, Mask: -1, Types: -1, Length: -1}
	for _, n := range lengths {
		in.Buckets.Shapes = append(in.Buckets.Shapes, tensor.Shape{n})
	}
	in.Max = lengths[len(lengths)-1]
	return in
}

// words is an input of ids, three of which are for the words a and b.
func words(t *testing.T) modelpkg.Input {
	t.Helper()
	read, err := tokenizer.Read([]byte(`{"pre_tokenizer": {"type": "BertPreTokenizer"},
  "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
  "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5}}}`))
	if err != nil {
		t.Fatal(err)
	}
	in := input(modelpkg.MediaText, tensor.Int64, 0, -1)
	in.Tokens = &modelpkg.Tokens{Mask: -1, Types: -1, Tokenizer: read}
	return in
}

// TestLengthIsThatOfTheInput checks for files of many kinds that Length, which decides on
// the bucket, is what becomes of the file when it is read.
func TestLengthIsThatOfTheInput(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	ids := sized(words(t), true, 64)
	codes := sized(input(modelpkg.MediaText, tensor.Uint8, 0, -1), true, 64)
	check := func(what string, in modelpkg.Input, file []byte) {
		t.Helper()
		if got, want := Length(in, file), mustEncode(t, in, file).Shape[1]; int64(got) != want {
			t.Errorf("%s: the length is %d, the input has %d", what, got, want)
		}
	}
	for range 200 {
		rate, channels, n := []int{8000, 11025, 16000, 22050, 44100}[rng.IntN(5)], 1+rng.IntN(2), 1+rng.IntN(400)
		sound := sized(input(modelpkg.MediaAudio, tensor.Int16, []int{8000, 16000, 44100}[rng.IntN(3)], -1), true, 64)
		check("a WAV file", sound, wavFile(wavePCM, channels, rate, 16, make([]byte, 2*channels*n)))
		if channels == 1 {
			check("a FLAC file", sound, flacFile(t, uint32(rate), 16, uint64(n), make([]int32, n)))
		}
		check("a text", codes, []byte(strings.Repeat("é", n)))
		check("tokens", ids, []byte(strings.Repeat("a b ", rng.IntN(50))))
	}
	for what, c := range map[string]struct {
		in   modelpkg.Input
		file []byte
	}{
		"a FLAC file that does not say":   {sized(input(modelpkg.MediaAudio, tensor.Int16, 8000, -1), true, 64), flacFile(t, 8000, 16, 0, make([]int32, 9))},
		"a broken FLAC file":              {sized(input(modelpkg.MediaAudio, tensor.Int16, 8000, -1), true, 64), []byte(flacStart)},
		"no recording":                    {sized(input(modelpkg.MediaAudio, tensor.Int16, 8000, -1), true, 64), []byte("RIFF")},
		"a text that is no UTF-8":         {ids, []byte{0xff}},
		"a text too long to count tokens": {ids, slices.Repeat([]byte("a "), CountedTextMax)},
	} {
		if got := Length(c.in, c.file); got != math.MaxInt32 {
			t.Errorf("%s has a length of %d", what, got)
		}
	}
}

// TestLongerThanTheLargestBucket refuses or cuts files, as the package says.
func TestLongerThanTheLargestBucket(t *testing.T) {
	recording := wavFile(wavePCM, 1, 8000, 16, pcm16(1, 2, 3, 4, 5))
	sound, ids, codes := input(modelpkg.MediaAudio, tensor.Int16, 8000, -1), words(t), input(modelpkg.MediaText, tensor.Uint8, 0, -1)
	for _, c := range []struct {
		what  string
		in    modelpkg.Input
		file  []byte
		fault string
		n     int // of the item's elements
	}{
		{"a recording", sized(sound, false, 2, 4), recording, "the file has length 5, but the largest bucket of the model is 4", 0},
		{"a recording that is cut", sized(sound, true, 2, 4), recording, "", 5}, // to its bucket, later
		{"a text", sized(codes, false, 4), []byte("five5"), "the file has length 5, but the largest bucket of the model is 4", 0},
		{"tokens", sized(ids, false, 4), []byte("a b a"), "the text has more than 4 tokens, the largest bucket of the model", 0},
		{"just enough tokens", sized(ids, false, 4), []byte("a b"), "", 4},
		{"tokens that are cut", sized(ids, true, 4), []byte("a b a"), "", 4},
	} {
		files := []File{{Input: &c.in, Data: c.file}}
		if err := NewDecoder().Decode(t.Context(), files); err != nil {
			t.Fatal(err)
		}
		got := files[0]
		switch {
		case c.fault != "" && (got.Err == nil || !strings.HasSuffix(got.Err.Error(), c.fault)):
			t.Errorf("%s: %v, want %q", c.what, got.Err, c.fault)
		case c.fault == "" && (got.Err != nil || len(got.Item) != c.n*c.in.DType.Size()):
			t.Errorf("%s: %d bytes, %v", c.what, len(got.Item), got.Err)
		}
		if last := got.Item; c.what == "tokens that are cut" && last[len(last)-8] != 3 {
			t.Errorf("the last token is %d", last[len(last)-8])
		}
	}
}
