package proposal

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/tensor"
)

// plainName reports whether a package can name the tensor.
func plainName(name string) bool {
	if name == "" || utf8.RuneCountInString(name) > 256 || !utf8.ValidString(name) {
		return false
	}
	for _, c := range name {
		if c < ' ' || c >= 0x7f && c <= 0x9f {
			return false
		}
	}
	return true
}

// idWords are words in the names of inputs that hold ids or marks. A graph fails on an
// id that its table does not have.
var idWords = []string{"id", "ids", "index", "indices", "token", "tokens", "mask", "category", "categories"}

// settleRange takes the bounds of ids from the samples.
func (p *Proposal) settleRange(m *merged) {
	whole := []tensor.DType{tensor.Int32, tensor.Int64, tensor.Uint32, tensor.Uint16, tensor.Int16}
	isID := slices.ContainsFunc(words(m.name), func(w string) bool { return slices.Contains(idWords, w) })
	if !isID || !slices.Contains(whole, m.dtype) || p.chosen.array(m.name) == nil {
		return
	}
	numbers, err := p.chosen.numbers(m.name)
	if err != nil {
		p.decide(p.Profile, fmt.Sprintf("its array %q cannot be read: %v", m.name, err), "save it again with numpy.savez_compressed")
		return
	}
	if len(numbers) == 0 {
		return
	}
	least, greatest := extremes(numbers)
	const exact = 1 << 53
	if least < -exact || greatest > exact {
		return
	}
	m.Range = &[2]int64{min(0, int64(least)), int64(greatest)}
	m.Comments = append(m.Comments, "range is that of the samples, and requests with other values are refused; for ids, write [0, size of the vocabulary - 1]")
}

// mediaOf is the ordinary file that mosel infer can make an input from; "" if its
// name and shape do not say.
func mediaOf(m *merged) string {
	if m.dtype != tensor.Uint8 || m.Unbatched {
		return ""
	}
	s := m.Shape
	switch kind := kindOf(m.name); {
	case kind == "text" && len(s) == 1 && s[0] > 0:
		return "text"
	case kind != "image" || slices.Contains(s, openShape):
	case len(s) == 2, len(s) == 3 && (s[0] == 3 || s[2] == 3):
		return "image"
	}
	return ""
}
