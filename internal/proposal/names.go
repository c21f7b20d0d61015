package proposal

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

func isLetter(c rune) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func isDigit(c rune) bool { return c >= '0' && c <= '9' }

// cleaned is a text with "_" for what may not be in a name, without the characters
// of ends at its ends, and not too long.
func cleaned(text string, most int, may func(rune) bool, ends string) string {
	text = strings.Map(func(c rune) rune {
		if may(c) {
			return c
		}
		return '_'
	}, text)
	text = strings.Trim(text, ends)
	return strings.TrimRight(text[:min(len(text), most)], ends)
}

// modalityName is a tensor's name as a modality may be called.
func modalityName(name string) string {
	clean := cleaned(strings.ToLower(name), modalityNameMax, func(c rune) bool { return c >= 'a' && c <= 'z' || isDigit(c) || c == '_' }, "_")
	if clean == "" {
		return "input"
	}
	if isDigit(rune(clean[0])) {
		clean = "input_" + clean
		return strings.TrimRight(clean[:min(len(clean), modalityNameMax)], "_")
	}
	return clean
}

// Lengths of names in a package.
const (
	modalityNameMax = 32
	nameMax         = 64
)

// unique is a name that is not taken yet, with a number at its end if need be.
func unique(name string, most int, taken []string) string {
	free := name
	for n := 2; slices.Contains(taken, free); n++ {
		end := fmt.Sprintf("_%d", n)
		free = strings.TrimRight(name[:min(len(name), most-len(end))], "_") + end
	}
	return free
}

// words are the parts of a name in small letters: pixel_values is pixel and values.
func words(name string) []string {
	return strings.FieldsFunc(strings.ToLower(name), func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
}

// prefix is what stands before the last "_"; "" if nothing does.
func prefix(name string) string {
	at := strings.LastIndex(name, "_")
	if at < 1 {
		return ""
	}
	return name[:at]
}

// listed joins names for a sentence.
func listed(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = clip(n)
	}
	return strings.Join(quoted, ", ")
}

// clip shortens a name, and shows what cannot be printed.
func clip(name string) string {
	const most = 80
	shown := strings.Trim(fmt.Sprintf("%q", name), `"`)
	if len(shown) > most {
		return strings.ToValidUTF8(shown[:most], "") + "..."
	}
	return shown
}
