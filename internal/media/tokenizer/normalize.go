package tokenizer

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// readNormalizer reads the normalizer of a file.
func readNormalizer(part json.RawMessage) (normalizer, error) {
	kind, err := typeOf(part)
	if err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	if kind == "" {
		return func(text string) string { return text }, nil
	}
	var p struct {
		Normalizers []json.RawMessage `json:"normalizers"`
		Clean       bool              `json:"clean_text"`
		Chinese     bool              `json:"handle_chinese_chars"`
		Accents     *bool             `json:"strip_accents"`
		Lower       bool              `json:"lowercase"`
		Left        bool              `json:"strip_left"`
		Right       bool              `json:"strip_right"`
		Prepend     string            `json:"prepend"`
		Content     string            `json:"content"`
		Table       string            `json:"precompiled_charsmap"`
		Pattern     pattern           `json:"pattern"`
	}
	if err := json.Unmarshal(part, &p); err != nil {
		return nil, fmt.Errorf("normalizer %s: %w", kind, err)
	}
	switch kind {
	case "Sequence":
		return sequence(p.Normalizers)
	case "BertNormalizer":
		accents := p.Lower
		if p.Accents != nil {
			accents = *p.Accents
		}
		return bert(p.Clean, p.Chinese, accents, p.Lower), nil
	case "Strip":
		return func(text string) string {
			if p.Left {
				text = strings.TrimLeftFunc(text, unicode.IsSpace)
			}
			if p.Right {
				text = strings.TrimRightFunc(text, unicode.IsSpace)
			}
			return text
		}, nil
	case "Prepend":
		return func(text string) string {
			if text == "" {
				return text
			}
			return p.Prepend + text
		}, nil
	case "Precompiled":
		return readPrecompiled(p.Table)
	case "Replace":
		return p.Pattern.replacer(p.Content)
	}
	if simple, known := simpleNormalizers[kind]; known {
		return simple, nil
	}
	return nil, fmt.Errorf("normalizer %q is not known", kind)
}

// simpleNormalizers have no settings.
var simpleNormalizers = map[string]normalizer{
	"NFC": norm.NFC.String, "NFD": norm.NFD.String, "NFKC": norm.NFKC.String, "NFKD": norm.NFKD.String,
	"Lowercase": lower, "StripAccents": without(unicode.M), "Nmt": nmt,
}

func sequence(parts []json.RawMessage) (normalizer, error) {
	var all []normalizer
	for _, part := range parts {
		n, err := readNormalizer(part)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return func(text string) string {
		for _, n := range all {
			text = n(text)
		}
		return text
	}, nil
}

// pattern is a text or a regular expression.
type pattern struct {
	String *string
	Regex  *string
}

// replacer puts content in the place of each match.
func (p pattern) replacer(content string) (normalizer, error) {
	switch {
	case p.String != nil:
		return func(text string) string { return strings.ReplaceAll(text, *p.String, content) }, nil
	case p.Regex != nil:
		form, err := regexp.Compile(*p.Regex)
		if err != nil {
			return nil, fmt.Errorf("normalizer Replace: the pattern %q is not supported: %w", *p.Regex, err)
		}
		return func(text string) string { return form.ReplaceAllLiteralString(text, content) }, nil
	}
	return nil, fmt.Errorf("normalizer Replace has no pattern")
}

// bert is what BERT's own code does to a text.
func bert(clean, chinese, accents, lowercase bool) normalizer {
	return func(text string) string {
		if clean {
			text = strings.Map(cleaned, text)
		}
		if chinese {
			text = apart(text)
		}
		if accents {
			text = stripAccents(norm.NFD.String(text))
		}
		if lowercase {
			text = lower(text)
		}
		return text
	}
}

// cleaned makes white space a blank, and leaves control characters out.
func cleaned(r rune) rune {
	switch {
	case unicode.IsSpace(r):
		return ' '
	case r == 0, r == unicode.ReplacementChar, unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs):
		return -1
	}
	return r
}

// apart puts blanks around Chinese characters.
func apart(text string) string {
	if strings.IndexFunc(text, isChinese) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if isChinese(r) {
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isChinese(r rune) bool {
	return r >= 0x4E00 && r <= 0x9FFF || r >= 0x3400 && r <= 0x4DBF || r >= 0x20000 && r <= 0x2A6DF || r >= 0x2A700 && r <= 0x2B73F ||
		r >= 0x2B740 && r <= 0x2B81F || r >= 0x2B920 && r <= 0x2CEAF || r >= 0xF900 && r <= 0xFAFF || r >= 0x2F800 && r <= 0x2FA1F
}

// stripAccents leaves out the marks that take no room of their own.
var stripAccents = without(unicode.Mn)

func without(marks *unicode.RangeTable) normalizer {
	return func(text string) string {
		return strings.Map(func(r rune) rune {
			if unicode.Is(marks, r) {
				return -1
			}
			return r
		}, text)
	}
}

// lower makes each character small by itself. One has a small form of two characters.
func lower(text string) string {
	const dotted = "\u0130"
	if strings.Contains(text, dotted) {
		text = strings.ReplaceAll(text, dotted, "i\u0307")
	}
	return strings.Map(unicode.ToLower, text)
}

// nmt is the cleaning of SentencePiece's nmt_nfkc.
func nmt(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 1 && r <= 8, r == 0xb, r >= 0xe && r <= 0x1f, r == 0x7f, r == 0x8f, r == 0x9f:
			return -1
		case r == 9, r == 0xa, r == 0xc, r == 0xd, r == 0x1680, r >= 0x200b && r <= 0x200f, r == 0x2028, r == 0x2029, r == 0x2581, r == 0xfeff, r == 0xfffd:
			return ' '
		}
		return r
	}, text)
}
