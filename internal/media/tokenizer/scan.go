package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The regular expressions by which byte-level tokenizers split texts look ahead, which
// Go's do not. They differ in four things and are read by hand, in linear time.
type scanner struct {
	anyCase  bool // contractions in capitals too
	leading  bool // a word takes any one character before it that is no letter, number or line end; else a blank
	digits   int  // most in a row, 0: any number, and then with a blank before
	newlines bool // line ends belong to the marks before them, and end white space
}

var (
	gpt2   = scanner{}
	llama3 = scanner{anyCase: true, leading: true, digits: 3, newlines: true}
	qwen2  = scanner{anyCase: true, leading: true, digits: 1, newlines: true}
)

// patterns are the scanners by the regular expressions that they stand for.
var patterns = map[string]scanner{
	`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`:                                          gpt2,
	`'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`:                                             gpt2,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: llama3,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:      qwen2,
}

// cut splits a text into words; no byte is left out.
func (s scanner) cut(dst []string, text string) []string {
	for text != "" {
		n := s.next(text)
		dst, text = append(dst, text[:n]), text[n:]
	}
	return dst
}

var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

// next is the length of the first word. The alternatives come in the order of the regular
// expression.
func (s scanner) next(text string) int {
	for _, c := range contractions {
		if len(text) >= len(c) && (text[:len(c)] == c || s.anyCase && strings.EqualFold(text[:len(c)], c)) {
			return len(c)
		}
	}
	first, size := utf8.DecodeRuneInString(text)
	rest := text[size:]
	leads := first == ' '
	if s.leading {
		leads = !isLetter(first) && !isNumber(first) && first != '\r' && first != '\n'
	}
	if n := span(rest, isLetter); leads && n > 0 {
		return size + n
	}
	if isLetter(first) {
		return span(text, isLetter)
	}
	if n := s.number(text, rest, first); n > 0 {
		return n
	}
	if n := span(rest, isMark); first == ' ' && n > 0 {
		return 1 + n + s.lineEnds(rest[n:])
	}
	if n := span(text, isMark); n > 0 {
		return n + s.lineEnds(text[n:])
	}
	return s.space(text)
}

// number is the length of a number that the text begins with.
func (s scanner) number(text, rest string, first rune) int {
	if s.digits == 0 {
		if n := span(rest, isNumber); first == ' ' && n > 0 {
			return 1 + n
		}
		return span(text, isNumber)
	}
	n := 0
	for range s.digits {
		r, size := utf8.DecodeRuneInString(text[n:])
		if size == 0 || !isNumber(r) {
			break
		}
		n += size
	}
	return n
}

func (s scanner) lineEnds(text string) int {
	if !s.newlines {
		return 0
	}
	return span(text, isLineEnd)
}

// space is the length of white space: up to its last line end where those count; without
// its last character if a word follows, which takes that.
func (s scanner) space(text string) int {
	n := span(text, unicode.IsSpace)
	if s.newlines {
		if end := strings.LastIndexAny(text[:n], "\r\n"); end >= 0 {
			return end + 1
		}
	}
	if _, last := utf8.DecodeLastRuneInString(text[:n]); n < len(text) && n > last {
		return n - last
	}
	return n
}

// span is the length of the characters of a kind at the beginning of a text.
func span(text string, of func(rune) bool) int {
	if n := strings.IndexFunc(text, func(r rune) bool { return !of(r) }); n >= 0 {
		return n
	}
	return len(text)
}

func isLetter(r rune) bool  { return unicode.IsLetter(r) }
func isNumber(r rune) bool  { return unicode.IsNumber(r) }
func isLineEnd(r rune) bool { return r == '\r' || r == '\n' }
func isMark(r rune) bool    { return !unicode.IsSpace(r) && !isLetter(r) && !isNumber(r) }

// byteRunes are the characters that stand for bytes: themselves where they can be seen,
// else those from U+0100 on.
var byteRunes = func() (runes [256]rune) {
	next := rune(256)
	for b := range runes {
		switch {
		case b >= '!' && b <= '~', b >= 0xa1 && b <= 0xac, b >= 0xae:
			runes[b] = rune(b)
		default:
			runes[b] = next
			next++
		}
	}
	return runes
}()

func visible(word string) string {
	var b strings.Builder
	for i := range len(word) {
		b.WriteRune(byteRunes[word[i]])
	}
	return b.String()
}
