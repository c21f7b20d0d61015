package tokenizer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token that is found in texts before the model sees them.
type addedToken struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
}

// addedTokens are sorted by their first byte, the longest first. Those of the first list
// are looked for in the text as it is, those of the second in the normalized one.
type addedTokens [2]map[byte][]addedToken

func newAddedTokens(tokens []addedToken, normalize normalizer) addedTokens {
	a := addedTokens{{}, {}}
	for _, t := range tokens {
		list := a[0]
		if t.Normalized {
			list, t.Content = a[1], normalize(t.Content)
		}
		if t.Content != "" {
			list[t.Content[0]] = append(list[t.Content[0]], t)
		}
	}
	for _, list := range a {
		for first := range list {
			slices.SortStableFunc(list[first], func(x, y addedToken) int { return len(y.Content) - len(x.Content) })
		}
	}
	return a
}

// piece is a part of a text: an added token, or what is between them.
type piece struct {
	text  string
	added bool
	id    int64
}

// cut takes a text apart at the added tokens of one list.
func (a addedTokens) cut(text string, normalized bool) []piece {
	tokens := a[0]
	if normalized {
		tokens = a[1]
	}
	if len(tokens) == 0 {
		return []piece{{text: text}}
	}
	var pieces []piece
	begin := 0
	for at := 0; at < len(text); {
		t, ok := match(tokens[text[at]], text, at)
		if !ok {
			at++
			continue
		}
		from, to := at, at+len(t.Content)
		if t.LStrip {
			from = max(begin, len(strings.TrimRightFunc(text[:at], unicode.IsSpace)))
		}
		if t.RStrip {
			to = len(text) - len(strings.TrimLeftFunc(text[to:], unicode.IsSpace))
		}
		if from > begin {
			pieces = append(pieces, piece{text: text[begin:from]})
		}
		pieces = append(pieces, piece{added: true, id: t.ID})
		begin, at = to, to
	}
	if begin < len(text) || len(pieces) == 0 {
		pieces = append(pieces, piece{text: text[begin:]})
	}
	return pieces
}

// match finds the longest token at a place.
func match(tokens []addedToken, text string, at int) (addedToken, bool) {
	for _, t := range tokens {
		if !strings.HasPrefix(text[at:], t.Content) {
			continue
		}
		if t.SingleWord {
			before, _ := utf8.DecodeLastRuneInString(text[:at])
			after, _ := utf8.DecodeRuneInString(text[at+len(t.Content):])
			if at > 0 && isWord(before) || at+len(t.Content) < len(text) && isWord(after) {
				continue
			}
		}
		return t, true
	}
	return addedToken{}, false
}

// isWord is \w of regular expressions.
func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.In(r, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}
