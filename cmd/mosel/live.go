package main

import (
	"fmt"
	"io"
	"sync"
	"unicode/utf8"
)

// liveLine is a progress line of a terminal, which each update overwrites. It writes
// nothing if the output is not a terminal.
type liveLine struct {
	out   io.Writer
	width int // of the terminal, in characters; 0: no terminal

	mu    sync.Mutex
	shown int // characters now on the line
}

// newLiveLine returns a line that is shown on w if w is a terminal.
func newLiveLine(w io.Writer) *liveLine {
	l := &liveLine{out: w}
	if width, screen := terminal(w); screen {
		l.width = width
	}
	return l
}

// show replaces the line. Clear it with "" before anything else is printed.
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
