package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// readSplitter reads how a file splits texts into words.
func readSplitter(part json.RawMessage) (splitter, error) {
	kind, err := typeOf(part)
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if kind == "" {
		return func(words []string, _ bool) []string { return words }, nil
	}
	p := splitSettings{UseRegex: true, Scheme: "always", Split: true}
	if err := json.Unmarshal(part, &p); err != nil {
		return nil, fmt.Errorf("pre_tokenizer %s: %w", kind, err)
	}
	switch kind {
	case "Sequence":
		return splitSequence(p.Parts)
	case "BertPreTokenizer":
		return each(func(dst []string, text string) []string {
			for _, word := range strings.FieldsFunc(text, unicode.IsSpace) {
				dst = isolate(dst, word, isPunctuation)
			}
			return dst
		}), nil
	case "WhitespaceSplit":
		return each(func(dst []string, text string) []string {
			return append(dst, strings.FieldsFunc(text, unicode.IsSpace)...)
		}), nil
	case "Whitespace":
		return each(func(dst []string, text string) []string {
			for _, word := range strings.FieldsFunc(text, unicode.IsSpace) {
				dst = runs(dst, word, isWord)
			}
			return dst
		}), nil
	case "Digits":
		if !p.Individual {
			return each(func(dst []string, text string) []string { return runs(dst, text, unicode.IsNumber) }), nil
		}
		return each(func(dst []string, text string) []string { return isolate(dst, text, unicode.IsNumber) }), nil
	case "Punctuation":
		if p.Behavior == "" || strings.EqualFold(p.Behavior, "isolated") {
			return each(func(dst []string, text string) []string { return isolate(dst, text, isPunctuation) }), nil
		}
	case "ByteLevel":
		return p.byteLevel(), nil
	case "Metaspace":
		return p.metaspace(), nil
	case "Split":
		return p.regex()
	}
	return nil, fmt.Errorf("pre_tokenizer %q with these settings is not known", kind)
}

// splitSettings are the settings of all kinds.
type splitSettings struct {
	Parts       []json.RawMessage `json:"pretokenizers"`
	PrefixSpace bool              `json:"add_prefix_space"`
	UseRegex    bool              `json:"use_regex"`
	Replacement string            `json:"replacement"`
	Scheme      string            `json:"prepend_scheme"`
	Split       bool              `json:"split"`
	Pattern     pattern           `json:"pattern"`
	Behavior    string            `json:"behavior"`
	Invert      bool              `json:"invert"`
	Individual  bool              `json:"individual_digits"`
}

// each makes a splitter of a function for one text.
func each(f func(dst []string, text string) []string) splitter {
	return func(words []string, _ bool) []string {
		var out []string
		for _, word := range words {
			out = f(out, word)
		}
		return out
	}
}

func splitSequence(parts []json.RawMessage) (splitter, error) {
	var all []splitter
	for _, part := range parts {
		s, err := readSplitter(part)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return func(words []string, first bool) []string {
		for _, s := range all {
			words = s(words, first)
		}
		return words
	}, nil
}

// isolate cuts a text so that each character of a kind stands alone.
func isolate(dst []string, text string, of func(rune) bool) []string {
	begin := 0
	for at, r := range text {
		if !of(r) {
			continue
		}
		if at > begin {
			dst = append(dst, text[begin:at])
		}
		begin = at + len(string(r))
		dst = append(dst, text[at:begin])
	}
	if begin < len(text) {
		dst = append(dst, text[begin:])
	}
	return dst
}

// runs cuts a text between characters that are of a kind and those that are not.
func runs(dst []string, text string, of func(rune) bool) []string {
	begin, last := 0, false
	for at, r := range text {
		if is := of(r); at > begin && is != last {
			dst, begin, last = append(dst, text[begin:at]), at, is
		} else {
			last = is
		}
	}
	if begin < len(text) {
		dst = append(dst, text[begin:])
	}
	return dst
}

// isPunctuation is BERT's: all of ASCII's that is neither letter, number nor blank, and
// what Unicode calls so.
func isPunctuation(r rune) bool {
	return r >= '!' && r <= '/' || r >= ':' && r <= '@' || r >= '[' && r <= '`' || r >= '{' && r <= '~' || unicode.IsPunct(r)
}

// byteLevel writes each byte as a character that can be seen, as GPT-2 does.
func (p splitSettings) byteLevel() splitter {
	return each(func(dst []string, text string) []string {
		if p.PrefixSpace && !strings.HasPrefix(text, " ") {
			text = " " + text
		}
		begin := len(dst)
		if p.UseRegex {
			dst = gpt2.cut(dst, text)
		} else {
			dst = append(dst, text)
		}
		for i, word := range dst[begin:] {
			dst[begin+i] = visible(word)
		}
		return dst
	})
}

// metaspace writes blanks as a character of their own, which begins the next word.
func (p splitSettings) metaspace() splitter {
	return func(words []string, first bool) []string {
		var out []string
		for _, text := range words {
			text = strings.ReplaceAll(text, " ", p.Replacement)
			if (p.Scheme == "always" || p.Scheme == "first" && first) && !strings.HasPrefix(text, p.Replacement) {
				text = p.Replacement + text
			}
			if !p.Split {
				out = append(out, text)
				continue
			}
			for text != "" {
				next := strings.Index(text[1:], p.Replacement) + 1
				if next == 0 {
					next = len(text)
				}
				out, text = append(out, text[:next]), text[next:]
			}
		}
		return out
	}
}

// regex splits by one of the regular expressions that tokenizers use.
func (p splitSettings) regex() (splitter, error) {
	if !strings.EqualFold(p.Behavior, "isolated") || p.Invert {
		return nil, fmt.Errorf("pre_tokenizer Split with behavior %q is not supported", p.Behavior)
	}
	if p.Pattern.String != nil {
		return each(func(dst []string, text string) []string { return isolateText(dst, text, *p.Pattern.String) }), nil
	}
	if p.Pattern.Regex != nil {
		if known, ok := patterns[*p.Pattern.Regex]; ok {
			return each(known.cut), nil
		}
		return nil, fmt.Errorf("pre_tokenizer Split: the pattern %q is not one of those that are known: of GPT-2, Llama 3 and Qwen 2", *p.Pattern.Regex)
	}
	return nil, fmt.Errorf("pre_tokenizer Split has no pattern")
}

func isolateText(dst []string, text, at string) []string {
	for at != "" {
		before, after, found := strings.Cut(text, at)
		if !found {
			break
		}
		if before != "" {
			dst = append(dst, before)
		}
		dst, text = append(dst, at), after
	}
	if text != "" {
		dst = append(dst, text)
	}
	return dst
}
