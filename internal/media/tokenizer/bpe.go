package tokenizer

import (
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// bpe joins the pair of neighbours that was learnt first, again and again.
type bpe struct {
	vocabulary
	merges       map[[2]int64]merge
	unknown      int64
	hasUnknown   bool
	fuseUnknown  bool
	byteFallback bool
	wholeWords   bool // a word that is a token is taken as it is
}

// merge is a pair that may be joined: the lower rank first.
type merge struct {
	rank int
	id   int64
}

func readBPE(part json.RawMessage) (model, error) {
	var p struct {
		Vocab    map[string]int64  `json:"vocab"`
		Merges   []json.RawMessage `json:"merges"`
		Unknown  *string           `json:"unk_token"`
		Prefix   *string           `json:"continuing_subword_prefix"`
		Suffix   *string           `json:"end_of_word_suffix"`
		Dropout  *float64          `json:"dropout"`
		Fuse     bool              `json:"fuse_unk"`
		Fallback bool              `json:"byte_fallback"`
		Whole    bool              `json:"ignore_merges"`
	}
	if err := json.Unmarshal(part, &p); err != nil {
		return nil, fmt.Errorf("model BPE: %w", err)
	}
	given := func(s *string) bool { return s != nil && *s != "" }
	if given(p.Prefix) || given(p.Suffix) || p.Dropout != nil && *p.Dropout != 0 {
		return nil, errors.New("model BPE: continuing_subword_prefix, end_of_word_suffix and dropout are not supported")
	}
	b := &bpe{vocabulary: p.Vocab, merges: make(map[[2]int64]merge, len(p.Merges)), fuseUnknown: p.Fuse, byteFallback: p.Fallback, wholeWords: p.Whole}
	if p.Unknown != nil {
		b.unknown, b.hasUnknown = p.Vocab[*p.Unknown]
	}
	for rank, text := range p.Merges {
		left, right, err := readMerge(text)
		if err != nil {
			return nil, fmt.Errorf("model BPE: merge %d: %w", rank, err)
		}
		x, hasX := p.Vocab[left]
		y, hasY := p.Vocab[right]
		id, hasBoth := p.Vocab[left+right]
		if !hasX || !hasY || !hasBoth {
			return nil, fmt.Errorf("model BPE: merge %d of %q and %q is not in the vocabulary", rank, left, right)
		}
		b.merges[[2]int64{x, y}] = merge{rank, id}
	}
	return b, nil
}

// readMerge reads "a b" or ["a", "b"].
func readMerge(text json.RawMessage) (left, right string, err error) {
	var pair []string
	if len(text) > 0 && text[0] == '[' {
		err = json.Unmarshal(text, &pair)
	} else {
		var joined string
		err = json.Unmarshal(text, &joined)
		pair = strings.Split(joined, " ")
	}
	if err == nil && len(pair) != 2 {
		err = errors.New("it must be a pair")
	}
	if err != nil {
		return "", "", err
	}
	return pair[0], pair[1], nil
}

// symbol is a part of a word, linked with its neighbours; id -1: it was joined to the one
// before.
type symbol struct {
	id         int64
	prev, next int // -1: none
}

// candidate is a pair that may be joined, unless one of the two has changed since.
type candidate struct {
	merge
	at          int
	left, right int64
}

type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	return c[i].rank < c[j].rank || c[i].rank == c[j].rank && c[i].at < c[j].at
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }

// Push implements heap.Interface.
func (c *candidates) Push(x any) { *c = append(*c, x.(candidate)) }

// Pop implements heap.Interface.
func (c *candidates) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

func (b *bpe) ids(dst []int64, word string) []int64 {
	if id, known := b.vocabulary[word]; known && b.wholeWords {
		return append(dst, id)
	}
	symbols := b.symbols(word)
	var open candidates
	offer := func(at int) {
		if at < 0 || symbols[at].next < 0 {
			return
		}
		pair := [2]int64{symbols[at].id, symbols[symbols[at].next].id}
		if m, ok := b.merges[pair]; ok {
			heap.Push(&open, candidate{m, at, pair[0], pair[1]})
		}
	}
	for at := range symbols {
		offer(at)
	}
	for len(open) > 0 {
		c := heap.Pop(&open).(candidate)
		left := &symbols[c.at]
		if left.id != c.left || left.next < 0 || symbols[left.next].id != c.right {
			continue
		}
		gone := &symbols[left.next]
		left.id, left.next = c.id, gone.next
		gone.id = -1
		if left.next >= 0 {
			symbols[left.next].prev = c.at
		}
		offer(left.prev)
		offer(c.at)
	}
	for _, s := range symbols {
		if s.id >= 0 {
			dst = append(dst, s.id)
		}
	}
	return dst
}

// symbols are the characters of a word as tokens. An unknown one is its bytes, where the
// vocabulary has them, or the token for unknown ones, or nothing where there is none.
func (b *bpe) symbols(word string) []symbol {
	ids := make([]int64, 0, len(word))
	unknown := false // the last one
	for len(word) > 0 {
		_, size := utf8.DecodeRuneInString(word)
		char := word[:size]
		word = word[size:]
		if id, known := b.vocabulary[char]; known {
			ids, unknown = append(ids, id), false
			continue
		}
		if b.byteFallback {
			var all bool
			if ids, all = b.bytes(ids, char); all {
				unknown = false
				continue
			}
		}
		if b.hasUnknown && (!unknown || !b.fuseUnknown) {
			ids = append(ids, b.unknown)
		}
		unknown = true
	}
	symbols := make([]symbol, len(ids))
	for i, id := range ids {
		symbols[i] = symbol{id, i - 1, i + 1}
	}
	if len(symbols) > 0 {
		symbols[len(symbols)-1].next = -1
	}
	return symbols
}
