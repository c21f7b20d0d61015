package tokenizer

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/rivo/uniseg"
)

// precompiled is SentencePiece's normalizer: a table of what replaces which characters.
type precompiled struct {
	units []uint32 // of a trie as a double array
	texts []byte   // the replacements, each with a zero behind it
}

func readPrecompiled(table string) (normalizer, error) {
	blob, err := base64.StdEncoding.DecodeString(table)
	if err != nil {
		return nil, fmt.Errorf("normalizer Precompiled: %w", err)
	}
	if len(blob) < 4 {
		return nil, errors.New("normalizer Precompiled: the table is too short")
	}
	size := uint64(binary.LittleEndian.Uint32(blob))
	if blob = blob[4:]; size > uint64(len(blob)) || size%4 != 0 || size == 0 {
		return nil, errors.New("normalizer Precompiled: the table is shorter than it says")
	}
	p := precompiled{units: make([]uint32, size/4), texts: blob[size:]}
	for i := range p.units {
		p.units[i] = binary.LittleEndian.Uint32(blob[4*i:])
	}
	return p.normalize, nil
}

// graphemeMost is the length from which on a grapheme is only looked up by character.
const graphemeMost = 6

// normalize replaces each grapheme, or else each of its characters. A grapheme that begins
// with something that is replaced is replaced as a whole, as in Hugging Face's package.
func (p precompiled) normalize(text string) string {
	var b strings.Builder
	for state := -1; text != ""; {
		var grapheme string
		grapheme, text, _, state = uniseg.FirstGraphemeClusterInString(text, state)
		if len(grapheme) < graphemeMost {
			if replaced, ok := p.find(grapheme); ok {
				b.Write(replaced)
				continue
			}
		}
		for _, r := range grapheme {
			if replaced, ok := p.find(string(r)); ok {
				b.Write(replaced)
			} else {
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}

// find looks up the shortest beginning of a text that is in the table.
func (p precompiled) find(text string) ([]byte, bool) {
	at := offset(p.units[0])
	for i := range len(text) {
		c := uint32(text[i])
		if at ^= c; c == 0 || int(at) >= len(p.units) {
			return nil, false
		}
		unit := p.units[at]
		if unit&(1<<31|0xff) != c { // the label
			return nil, false
		}
		if at ^= offset(unit); int(at) >= len(p.units) {
			return nil, false
		}
		if unit>>8&1 == 0 { // no leaf
			continue
		}
		begin := uint64(p.units[at] & (1<<31 - 1))
		if begin > uint64(len(p.texts)) {
			return nil, false
		}
		replaced, _, _ := bytes.Cut(p.texts[begin:], []byte{0})
		return replaced, true
	}
	return nil, false
}

// offset is where the children of a unit are.
func offset(unit uint32) uint32 { return unit >> 10 << (unit & (1 << 9) >> 6) }
