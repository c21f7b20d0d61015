package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// page is text for a terminal, built line by line. It writes to memory only, so that
// a test can compare it.
type page struct {
	b     strings.Builder
	width int // in characters; lines are cut or wrapped to it
	color bool
}

// The widths of a page in characters. Narrower pages do not fit the tables; wider
// ones are hard to read.
const (
	pageWidthMin     = 72
	pageWidthMax     = 120
	pageWidthDefault = 100
)

func newPage(width int, color bool) *page {
	return &page{width: min(max(width, pageWidthMin), pageWidthMax), color: color}
}

// The styles of a terminal.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// styled returns text in a style, or plain text if the page has no colours.
func (p *page) styled(style, text string) string {
	if !p.color || style == "" || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// line writes a line, which must fit the page.
func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

// cut shortens text to at most width characters. Shortened text ends with "…".
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return strings.TrimRight(string([]rune(text)[:max(0, width-1)]), " ") + "…"
}

// pad cuts text, or fills it up with spaces, to exactly width characters.
func pad(text string, width int) string {
	text = cut(text, width)
	return text + strings.Repeat(" ", width-utf8.RuneCountInString(text))
}

// wrapped writes text on as many lines as it needs, each after the indent.
func (p *page) wrapped(indent int, style, text string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > p.width-indent {
			p.line("%*s%s", indent, "", p.styled(style, line))
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	if line != "" {
		p.line("%*s%s", indent, "", p.styled(style, line))
	}
}

// listed writes a label and a list of parts. It breaks lines only between parts. A
// part that is too long for a line is cut, unless it is styled.
func (p *page) listed(label, separator string, parts ...string) {
	indent := visible(label)
	line, used := label, indent
	for i, part := range parts {
		last := separator
		if i == len(parts)-1 {
			last = ""
		}
		room := p.width - visible(last)
		if visible(part) > room-indent && !strings.Contains(part, "\x1b") {
			part = cut(part, room-indent)
		}
		if used > indent && used+visible(part) > room {
			p.line("%s", strings.TrimRight(line, " "))
			line, used = strings.Repeat(" ", indent), indent
		}
		line += part + last
		used += visible(part) + visible(last)
	}
	p.line("%s", strings.TrimRight(line, " "))
}

// printable replaces the control characters in text from outside, so that it cannot
// control the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// visible counts the characters of text that a terminal shows.
func visible(text string) int {
	n := 0
	for rest := text; rest != ""; {
		if after, escape := strings.CutPrefix(rest, "\x1b["); escape {
			_, rest, _ = strings.Cut(after, "m")
			continue
		}
		_, bytes := utf8.DecodeRuneInString(rest)
		n, rest = n+1, rest[bytes:]
	}
	return n
}

// barGlyphs are eighths of a character.
var barGlyphs = [...]string{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"}

// bar draws a share as a bar of width characters, filled up with spaces. A share
// above 0 is always visible.
func bar(share float64, width int) string {
	eighths := int(math.Round(min(max(share, 0), 1) * float64(8*width)))
	if share > 0 {
		eighths = max(eighths, 1)
	}
	return pad(strings.Repeat("█", eighths/8)+barGlyphs[eighths%8], width)
}

// grouped formats a number with commas between thousands.
func grouped(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// counted formats a number and what it counts, in the singular or the plural.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if strings.HasSuffix(thing, "ch") {
		thing += "e"
	}
	return grouped(n) + " " + thing + "s"
}

// percent formats a share, 0 to 1, in percent.
func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// millis formats milliseconds with about three digits.
func millis(ms float64) string {
	switch abs := math.Abs(ms); {
	case abs >= 100 || abs == 0:
		return fmt.Sprintf("%.0f", ms)
	case abs >= 10:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.2f", ms)
}

// span formats a time in the unit that fits its length.
func span(seconds float64) string {
	switch {
	case seconds < 0.9995:
		return millis(1e3*seconds) + " ms"
	case seconds < 60:
		return fmt.Sprintf("%.1f s", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%.0f min %02.0f s", math.Floor(seconds/60), math.Floor(math.Mod(seconds, 60)))
	case seconds < 48*3600:
		return fmt.Sprintf("%.0f h %02.0f min", math.Floor(seconds/3600), math.Floor(math.Mod(seconds, 3600)/60))
	}
	return fmt.Sprintf("%.0f days", math.Floor(seconds/86400))
}

// size formats a number of bytes.
func size(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	x, unit := float64(bytes), 0
	for x >= 1024 && unit < len(units)-1 {
		x, unit = x/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", x, units[unit])
}
