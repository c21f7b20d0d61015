package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// liveLine is one line of a terminal that says what is going on and is written
// over and over. Where there is no terminal it stays silent: a log of thousands
// of half-sentences helps nobody.
type liveLine struct {
	out   io.Writer
	width int // of the terminal; 0: none

	mu    sync.Mutex
	shown int // characters on the line now
}

// newLiveLine writes to w if that is a terminal.
func newLiveLine(w io.Writer) *liveLine {
	l := &liveLine{out: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		l.width = 80
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			l.width = width
		}
	}
	return l
}

// show replaces the line; "" clears it, before something else is printed.
func (l *liveLine) show(text string) {
	if l.width == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	runes := []rune(text)
	text = string(runes[:min(len(runes), l.width-1)])
	length := utf8.RuneCountInString(text)
	fmt.Fprintf(l.out, "\r%s%*s\r", text, max(0, l.shown-length), "")
	l.shown = length
}
