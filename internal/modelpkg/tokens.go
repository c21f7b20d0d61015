package modelpkg

import (
	"bytes"
	"io"
	"slices"

	"github.com/mosel-serve/mosel/internal/media/tokenizer"
	"github.com/mosel-serve/mosel/tensor"
)

// Tokens says how a text becomes the ids in an input. The shape of that says how many:
// a fixed length is filled up, or the text cut to it.
type Tokens struct {
	Path  string // of the tokenizer.json, inside Dir
	Mask  int    // index into Model.Inputs of what gets 1 for each id and 0 for what fills up; -1: none
	Types int    // of what gets zeros, as models of pairs of texts want it; -1: none

	*tokenizer.Tokenizer
}

// tokenizerBytesMax bounds a tokenizer.json. Those of 250,000 tokens have 17 MB.
const tokenizerBytesMax = 64 << 20

// tokenMedia checks an input that has a tokenizer.
func (r *report) tokenMedia(media Media, ts tensorSpec, spec Spec) Media {
	if media != MediaText {
		r.At(ts.tokenizer.Place, "tokenizer is for an input with media: text")
	}
	if spec.DType != tensor.Int64 && spec.DType != tensor.Int32 || len(spec.Shape) != 1 {
		r.At(ts.tokenizer.Place, "tokenizer needs INT64 or INT32 [length], not %v %v", spec.DType, spec.Shape)
	}
	return media
}

// buildTokens ties the inputs that have a tokenizer to those that are filled with them.
func (r *report) buildTokens(m *Model, s *spec) {
	for i := range m.Inputs {
		in, ts := &m.Inputs[i], s.input(i)
		for key, w := range map[string]word{"mask": ts.mask, "types": ts.types} {
			if w.Given() && !ts.tokenizer.Given() && !ts.fill.Given() {
				r.At(w.Place, "%s is for an input with a tokenizer or buckets", key)
			}
		}
		if ts.tokenizer.Given() {
			in.Tokens = &Tokens{Path: r.inside(ts.tokenizer), Mask: r.filled(m, i, ts.mask, "mask"), Types: r.filled(m, i, ts.types, "types")}
			if in.Tokens.Mask >= 0 && in.Tokens.Mask == in.Tokens.Types {
				r.At(ts.types.Place, "types is the same input as mask")
			}
		}
	}
}

// filled is the index of an input that is filled beside the ids, -1 if none is named.
func (r *report) filled(m *Model, ids int, w word, key string) int {
	if !w.Given() {
		return -1
	}
	in := m.Inputs[ids]
	i := slices.IndexFunc(m.Inputs, func(other Input) bool { return other.Name == w.Text })
	switch {
	case i < 0:
		r.At(w.Place, "%s: the model has no input %q", key, w.Text)
	case i == ids || m.Inputs[i].Modality != in.Modality || m.Inputs[i].Unbatched:
		r.At(w.Place, "%s: %s must be another input of the same modality, with a batch", key, w.Text)
	case m.Inputs[i].DType != in.DType || !m.Inputs[i].Shape.Equal(in.Shape):
		r.At(w.Place, "%s: %s is %v %v; it must be %v %v, as %s is", key, w.Text, m.Inputs[i].DType, m.Inputs[i].Shape, in.DType, in.Shape, in.Name)
	}
	return i
}

// readTokenizers reads the tokenizers that inputs name. They are part of the digest.
func (r *report) readTokenizers(m *Model, s *spec, files *manifest) {
	read := map[string]*tokenizer.Tokenizer{}
	for i := range m.Inputs {
		tokens, at := m.Inputs[i].Tokens, s.input(i).tokenizer.Place
		if tokens == nil || tokens.Path == "" {
			continue
		}
		if tokens.Tokenizer = read[tokens.Path]; tokens.Tokenizer != nil {
			continue
		}
		var content []byte
		err := files.read(tokens.Path, func(file io.Reader, size int64) (err error) {
			if size > tokenizerBytesMax {
				return errTooLarge(tokenizerBytesMax)
			}
			content, err = io.ReadAll(io.LimitReader(file, tokenizerBytesMax))
			return err
		})
		if IsSystemFault(err) {
			r.unread(at, err, "tokenizer %s", tokens.Path)
			continue
		}
		if err == nil {
			tokens.Tokenizer, err = tokenizer.Read(bytes.TrimSpace(content))
		}
		if err != nil {
			r.At(at, "tokenizer %s: %s", tokens.Path, reason(err))
			continue
		}
		read[tokens.Path] = tokens.Tokenizer
	}
	for i, in := range m.Inputs {
		if in.Tokens != nil && in.Tokens.Tokenizer != nil && in.Buckets.leads(i) && !s.input(i).fill.pad.Given() {
			in.Buckets.Pad = Element(in.DType, float64(in.Tokens.Pad()))
		}
	}
}
