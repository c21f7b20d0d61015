package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// readModel reads the model of a file.
func readModel(part json.RawMessage) (string, model, error) {
	kind, err := typeOf(part)
	if err != nil {
		return "", nil, fmt.Errorf("model: %w", err)
	}
	var m model
	switch kind {
	case "WordPiece":
		m, err = readWordPiece(part)
	case "BPE":
		m, err = readBPE(part)
	case "Unigram":
		m, err = readUnigram(part)
	default:
		err = fmt.Errorf("model %q is not known; known: WordPiece, BPE, Unigram", kind)
	}
	return kind, m, err
}

// vocabulary is tokens and their ids.
type vocabulary map[string]int64

func (v vocabulary) id(token string) (int64, bool) {
	id, known := v[token]
	return id, known
}

// bytes appends the tokens that stand for the bytes of a text, if there are all of them.
func (v vocabulary) bytes(dst []int64, text string) ([]int64, bool) {
	begin := len(dst)
	for i := range len(text) {
		id, known := v[fmt.Sprintf("<0x%02X>", text[i])]
		if !known {
			return dst[:begin], false
		}
		dst = append(dst, id)
	}
	return dst, true
}

// wordPiece takes the longest token that a word begins with, and goes on with the rest.
type wordPiece struct {
	vocabulary
	unknown   int64
	prefix    string // of tokens inside of words
	charsMost int
}

func readWordPiece(part json.RawMessage) (model, error) {
	p := struct {
		Vocab   map[string]int64 `json:"vocab"`
		Unknown string           `json:"unk_token"`
		Prefix  string           `json:"continuing_subword_prefix"`
		Chars   int              `json:"max_input_chars_per_word"`
	}{Prefix: "##", Chars: 100}
	if err := json.Unmarshal(part, &p); err != nil {
		return nil, fmt.Errorf("model WordPiece: %w", err)
	}
	unknown, ok := p.Vocab[p.Unknown]
	if !ok {
		return nil, fmt.Errorf("model WordPiece: the vocabulary lacks the token %q, which stands for unknown words", p.Unknown)
	}
	return &wordPiece{p.Vocab, unknown, p.Prefix, p.Chars}, nil
}

func (w *wordPiece) ids(dst []int64, word string) []int64 {
	begin := len(dst)
	if utf8.RuneCountInString(word) > w.charsMost {
		return append(dst, w.unknown)
	}
	for at := 0; at < len(word); {
		prefix := ""
		if at > 0 {
			prefix = w.prefix
		}
		end := len(word)
		for ; end > at; end-- {
			if end < len(word) && !utf8.RuneStart(word[end]) {
				continue
			}
			if id, known := w.vocabulary[prefix+word[at:end]]; known {
				dst = append(dst, id)
				break
			}
		}
		if end == at {
			return append(dst[:begin], w.unknown)
		}
		at = end
	}
	return dst
}

// unigram takes the tokens with the greatest sum of scores.
type unigram struct {
	vocabulary
	scores       []float64
	longest      int // token, in bytes
	unknown      int64
	unknownScore float64
	byteFallback bool
}

// unknownPenalty is how much less than the worst token an unknown character scores.
const unknownPenalty = 10

func readUnigram(part json.RawMessage) (model, error) {
	var p struct {
		Vocab    [][2]json.RawMessage `json:"vocab"`
		Unknown  *int64               `json:"unk_id"`
		Fallback bool                 `json:"byte_fallback"`
	}
	if err := json.Unmarshal(part, &p); err != nil {
		return nil, fmt.Errorf("model Unigram: %w", err)
	}
	u := &unigram{vocabulary: make(vocabulary, len(p.Vocab)), byteFallback: p.Fallback}
	for i, entry := range p.Vocab {
		var token string
		var score float64
		if err := errors.Join(json.Unmarshal(entry[0], &token), json.Unmarshal(entry[1], &score)); err != nil {
			return nil, fmt.Errorf("model Unigram: token %d: %w", i, err)
		}
		u.vocabulary[token], u.scores = int64(i), append(u.scores, score)
		u.longest, u.unknownScore = max(u.longest, len(token)), min(u.unknownScore, score)
	}
	u.unknownScore -= unknownPenalty
	if p.Unknown == nil || *p.Unknown < 0 || *p.Unknown >= int64(len(p.Vocab)) {
		return nil, errors.New("model Unigram: unk_id names no token")
	}
	u.unknown = *p.Unknown
	return u, nil
}

// step is the best way to a place in a word.
type step struct {
	score float64
	from  int // -1: none was found
	id    int64
}

func (u *unigram) ids(dst []int64, word string) []int64 {
	steps := make([]step, len(word)+1)
	for i := range steps[1:] {
		steps[i+1].from = -1
	}
	better := func(to, from int, id int64, score float64) {
		if score += steps[from].score; steps[to].from < 0 || score > steps[to].score {
			steps[to] = step{score, from, id}
		}
	}
	for at := 0; at < len(word); {
		_, size := utf8.DecodeRuneInString(word[at:])
		single := false
		for end := at + 1; end <= min(len(word), at+u.longest); end++ {
			if id, known := u.vocabulary[word[at:end]]; known {
				better(end, at, id, u.scores[id])
				single = single || end-at == size
			}
		}
		if !single {
			better(at+size, at, u.unknown, u.unknownScore)
		}
		at += size
	}
	var pieces []string // from the last; unknown ones that follow each other are one
	for end, last := len(word), int64(-1); end > 0; end = steps[end].from {
		s := steps[end]
		if s.id == u.unknown && last == u.unknown {
			n := len(pieces) - 1
			pieces[n] = word[s.from : end+len(pieces[n])]
		} else {
			pieces = append(pieces, word[s.from:end])
		}
		last = s.id
	}
	for i := len(pieces) - 1; i >= 0; i-- {
		id, known := u.vocabulary[pieces[i]]
		if !known && u.byteFallback {
			var all bool
			if dst, all = u.bytes(dst, pieces[i]); all {
				continue
			}
		}
		if !known {
			id = u.unknown
		}
		dst = append(dst, id)
	}
	return dst
}
