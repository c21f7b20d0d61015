// Package board writes what a server says about itself for people at a terminal:
// its status on one screen, and the story of one request in a few lines. It is
// all pure functions from package status's values to text, so that every screen
// is tested as a whole; who asks, how often and what draws is the command's.
//
// What clients chose (their names, the ids of their requests) is printed with
// everything a terminal would obey replaced.
package board

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Paper is what is written on.
type Paper struct {
	Width  int  // characters of a line; lines are cut or wrapped to it, from WidthMin on
	Height int  // lines there are; 0: any number
	Colour bool // whether escape sequences may colour the text
}

// WidthMin is the least width that a board is made for.
const WidthMin = 60

// ink is how a piece of text looks where there is colour.
type ink string

const (
	plain  ink = ""
	strong ink = "1"
	faint  ink = "2"
	good   ink = "32"
	doubt  ink = "33"
	bad    ink = "31"
	accent ink = "36"
)

// sheet is a board that is being written, line by line.
type sheet struct {
	Paper
	text   strings.Builder
	column int // of the line being written
}

func (p Paper) sheet() *sheet {
	p.Width = max(p.Width, WidthMin)
	return &sheet{Paper: p}
}

// put writes text, as far as the line has room.
func (s *sheet) put(i ink, format string, args ...any) {
	text := clean(fmt.Sprintf(format, args...))
	room := s.Width - s.column
	if n := utf8.RuneCountInString(text); n > room {
		if room < 1 {
			return
		}
		text = string([]rune(text)[:room-1]) + "…"
	}
	s.column += utf8.RuneCountInString(text)
	if s.Colour && i != plain && text != "" {
		text = "\x1b[" + string(i) + "m" + text + "\x1b[0m"
	}
	s.text.WriteString(text)
}

// to leaves room up to a column.
func (s *sheet) to(column int) {
	for s.column < min(column, s.Width) {
		s.text.WriteByte(' ')
		s.column++
	}
}

// line ends the line.
func (s *sheet) line() {
	s.text.WriteByte('\n')
	s.column = 0
}

// wrap writes a text from a column on, in as many lines as it takes, and ends the
// last.
func (s *sheet) wrap(i ink, column int, text string) {
	column = min(column, s.Width-WidthMin/3)
	line, length := "", max(s.column, column)
	for word := range strings.FieldsSeq(clean(text)) {
		n := utf8.RuneCountInString(word)
		switch {
		case line != "" && length+1+n > s.Width:
			s.to(column)
			s.put(i, "%s", line)
			s.line()
			line, length = word, column+n
		case line != "":
			line, length = line+" "+word, length+1+n
		default:
			line, length = word, length+n
		}
	}
	s.to(column)
	s.put(i, "%s", line)
	s.line()
}

// bar draws a share of a width, to the eighth of a character.
func (s *sheet) bar(i ink, share float64, width int) {
	width = max(0, min(width, s.Width-s.column))
	eighths := int(math.Round(min(1, max(0, share)) * float64(8*width)))
	if eighths == 0 && share > 0 {
		eighths = 1
	}
	full := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		full += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	s.put(i, "%s", full)
}

// clean replaces what a terminal would obey.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, text)
}

// number prints a number of milliseconds or of items with three digits or so.
func number(x float64) string {
	switch abs := math.Abs(x); {
	case abs == 0:
		return "0"
	case abs < 9.995:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case abs < 99.95:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 0, 64)
}

// duration prints milliseconds with their unit.
func duration(ms float64) string {
	switch seconds := ms / 1000; {
	case math.Abs(ms) < 1000:
		return number(ms) + " ms"
	case math.Abs(seconds) < 120:
		return number(seconds) + " s"
	case math.Abs(seconds) < 2*3600:
		return fmt.Sprintf("%.0f min", seconds/60)
	case math.Abs(seconds) < 48*3600:
		return fmt.Sprintf("%.0f h", seconds/3600)
	default:
		return fmt.Sprintf("%.0f days", seconds/(24*3600))
	}
}

// count prints a whole number with its thousands apart.
func count[N int | int64 | uint64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	for at := len(digits) - 3; at > 0 && digits[at-1] != '-'; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// counted is a number of things.
func counted(n int, thing string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case strings.HasSuffix(thing, "ch"):
		return count(n) + " " + thing + "es"
	}
	return count(n) + " " + thing + "s"
}

// size prints bytes.
func size(n int64) string {
	x, unit := float64(n), 0
	for x >= 1024 && unit < 4 {
		x, unit = x/1024, unit+1
	}
	if unit == 0 {
		return count(n) + " B"
	}
	return number(x) + " " + [...]string{"", "KiB", "MiB", "GiB", "TiB"}[unit]
}

// percent prints a share; what is there but rounds to none is not none.
func percent(part, whole int) string {
	if whole == 0 {
		return ""
	}
	share := 100 * float64(part) / float64(whole)
	if part > 0 && share < 0.5 {
		return "<1 %"
	}
	if part < whole && share >= 99.5 {
		return ">99 %"
	}
	return fmt.Sprintf("%.0f %%", share)
}

// list joins names as in a sentence.
func list(names []string) string {
	switch n := len(names); n {
	case 0:
		return "nothing"
	case 1:
		return names[0]
	default:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
}
