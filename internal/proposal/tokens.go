package proposal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/media/tokenizer"
	"github.com/mosel-serve/mosel/tensor"
)

// settleLengths proposes buckets for inputs whose length varies and that have a mask, and
// a tokenizer for the ids of texts.
func (p *Proposal) settleLengths(dir string, tokenizers []string, inputs []*merged) {
	if len(p.Decisions) > 0 {
		return
	}
	file := p.tokenizerFile(dir, tokenizers)
	for _, m := range inputs {
		if isMask(m.name) || m.dtype == tensor.Bytes || m.Unbatched {
			continue
		}
		mask := companion(inputs, m, isMask)
		if file != "" && isIDs(m) {
			p.settleTokens(m, mask, inputs, file)
		}
		if mask != nil && m.Max > 0 {
			p.settleBuckets(m, mask, inputs)
		}
	}
}

func isMask(name string) bool { return slices.Contains(words(name), "mask") }

// isIDs reports whether an input has the ids of a text.
func isIDs(m *merged) bool {
	return (m.dtype == tensor.Int64 || m.dtype == tensor.Int32) && len(m.Shape) == 1 && kindOf(m.name) == "text" && !isTypes(m.name)
}

func isTypes(name string) bool { return strings.EqualFold(name, "token_type_ids") }

// companion finds the one input that always comes with m, that a rule chooses by name, and
// that has the sizes of m that vary; nil: there is none, or there are several.
func companion(inputs []*merged, m *merged, named func(string) bool) *merged {
	var found *merged
	for _, other := range inputs {
		if other == m || !named(other.name) || other.Unbatched || !slices.Equal(other.graphs, m.graphs) {
			continue
		}
		same := slices.Equal(other.Shape, m.Shape) || slices.Equal(other.Shape, []int64{openShape}) && openSizes(m.Tensor) == 1
		if !same || kindOf(other.name) != "" && kindOf(other.name) != kindOf(m.name) {
			continue
		}
		if found != nil {
			return nil
		}
		found = other
	}
	return found
}

// tokenizerFile is the tokenizer.json of the directory, if there is one that mosel reads.
func (p *Proposal) tokenizerFile(dir string, files []string) string {
	if len(files) == 0 {
		return ""
	}
	if len(files) > 1 {
		p.note("there are several tokenizers (%s): write the right one as tokenizer beside the ids", listed(files))
		return ""
	}
	text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(files[0])))
	if err == nil {
		_, err = tokenizer.Read(text)
	}
	if err != nil {
		p.note("%s cannot be used, so clients send ids: %v", files[0], err)
		return ""
	}
	return files[0]
}

// settleTokens has ids made of texts.
func (p *Proposal) settleTokens(m, mask *merged, inputs []*merged, file string) {
	m.Tokenizer, m.Media, m.Range = file, "text", nil
	m.Comments = slices.DeleteFunc(m.Comments, func(c string) bool { return strings.HasPrefix(c, "range is") })
	m.Comments = append(m.Comments, "clients may send a text in place of the ids")
	if mask != nil && mask.dtype == m.dtype && slices.Equal(mask.Shape, m.Shape) {
		m.Mask = mask.name
	}
	if types := companion(inputs, m, isTypes); types != nil && types.dtype == m.dtype && slices.Equal(types.Shape, m.Shape) {
		m.Types = types.name
	}
}

// The sizes of buckets: each is half of the next, none is smaller than bucketLeast, and
// each gets at least bucketShare of the samples.
const (
	bucketsProposed = 4
	bucketLeast     = 8
	bucketShare     = 0.05
)

// settleBuckets proposes sizes to fill up to. Only an input with a mask gets them: a graph
// without one may take what fills up for what was sent.
func (p *Proposal) settleBuckets(m, mask *merged, inputs []*merged) {
	lengths := p.ownLengths(mask)
	var sizes []int64
	last := m.Max
	for k := bucketsProposed - 1; k > 0; k-- {
		size := m.Max >> k
		if size < bucketLeast {
			continue
		}
		few := lengths != nil
		if few {
			below := 0
			for _, n := range lengths {
				if n <= size && (len(sizes) == 0 || n > sizes[len(sizes)-1]) {
					below++
				}
			}
			few = float64(below) < bucketShare*float64(len(lengths))
		}
		if !few {
			sizes = append(sizes, size)
		}
	}
	if len(sizes) == 0 {
		return
	}
	m.Buckets, m.Mask, m.Max, mask.Max = append(sizes, last), mask.name, 0, 0
	drop := func(m *merged) {
		m.Comments = slices.DeleteFunc(m.Comments, func(c string) bool { return strings.HasPrefix(c, "max is") })
	}
	drop(m)
	drop(mask)
	why := "half the largest size, and half of that; write those that your requests have"
	if lengths != nil {
		why = "sizes that the samples have; write the largest that will be served"
	}
	m.Comments = append(m.Comments, "items are filled up to a bucket, and short ones cost less: "+why)
	if types := companion(inputs, m, isTypes); types != nil {
		m.Types, types.Max = types.name, 0
		drop(types)
	}
}

// ownLengths are the samples' lengths by their mask: the place of the last one. Nil: there
// are no samples.
func (p *Proposal) ownLengths(mask *merged) (lengths []int64) {
	a := p.chosen.array(mask.name)
	if a == nil || len(a.Shape) != 2 || a.Shape[1] == 0 {
		return nil
	}
	numbers, err := p.chosen.numbers(mask.name)
	if err != nil {
		p.note("array %q of %s cannot be read: %v", mask.name, p.Profile, err)
		return nil
	}
	for row := range slices.Chunk(numbers, int(a.Shape[1])) {
		n := len(row)
		for n > 0 && row[n-1] == 0 {
			n--
		}
		lengths = append(lengths, int64(n))
	}
	return lengths
}

// bucketText writes buckets as mosel.yaml has them.
func bucketText(t Tensor) (parts []string) {
	if t.Buckets != nil {
		parts = append(parts, "buckets: "+shapeList(t.Buckets))
	}
	if t.Buckets != nil && t.Tokenizer != "" {
		parts = append(parts, "longer: cut") // as tokenizers do
	}
	for _, key := range []struct{ name, value string }{{"tokenizer", t.Tokenizer}, {"mask", t.Mask}, {"types", t.Types}} {
		if key.value != "" {
			parts = append(parts, fmt.Sprintf("%s: %s", key.name, quoted(key.value)))
		}
	}
	return parts
}
