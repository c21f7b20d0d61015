// Package asynclog is a log writer that never blocks its caller, so that a log whose
// reader has stopped or gone cannot block a server. Lines go to a bounded buffer, and
// a goroutine writes them. Lines that do not fit are dropped and counted. When lines
// are written again, one of them says how many are missing.
package asynclog

import (
	"context"
	"io"
	"sync"
)

// BytesMax is the recommended bound on the buffer: some thousand lines.
const BytesMax = 1 << 20

// Writer is an io.Writer that does not block. It is safe for concurrent use.
type Writer struct {
	to       io.Writer
	bytesMax int
	missing  func(lines uint64) []byte

	mu      sync.Mutex
	buffer  []byte
	lines   uint64 // in the buffer
	lost    uint64 // dropped and not yet reported
	dropped uint64 // in all
	writing bool   // the goroutine has lines that it has not written yet
	idle    chan struct{}
	wake    chan struct{}
}

// New makes a writer with a buffer of bytesMax bytes. missing makes the line that says
// how many lines were dropped. The writer's goroutine runs until the program ends.
func New(to io.Writer, bytesMax int, missing func(lines uint64) []byte) *Writer {
	w := &Writer{to: to, bytesMax: bytesMax, missing: missing, wake: make(chan struct{}, 1)}
	go w.run()
	return w
}

// Write buffers one line, or drops it. It never returns an error.
func (w *Writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buffer)+len(line) > w.bytesMax {
		w.lost++
		w.dropped++
		return len(line), nil
	}
	w.buffer = append(w.buffer, line...)
	w.lines++
	select {
	case w.wake <- struct{}{}:
	default: // the goroutine is already running
	}
	return len(line), nil
}

// Dropped returns the number of dropped lines: those that did not fit the buffer, and
// those that could not be written.
func (w *Writer) Dropped() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Flush waits until all lines are written. If ctx ends before, it returns ctx's error.
func (w *Writer) Flush(ctx context.Context) error {
	for {
		w.mu.Lock()
		if !w.writing && len(w.buffer) == 0 {
			w.mu.Unlock()
			return nil
		}
		if w.idle == nil {
			w.idle = make(chan struct{})
		}
		idle := w.idle
		w.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run writes buffered lines.
func (w *Writer) run() {
	var spare []byte
	for range w.wake {
		text, lines, lost := w.take(spare)
		_, err := w.to.Write(text)
		w.wrote(err, lines, lost)
		spare = text[:0]
	}
}

// take removes all lines from the buffer. Lines are dropped while the buffer is full,
// so the missing lines come after those in it.
func (w *Writer) take(spare []byte) (text []byte, lines, lost uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, lines, lost = w.buffer, w.lines, w.lost
	w.buffer, w.lines, w.lost, w.writing = spare, 0, 0, true
	if lost > 0 {
		text = append(text, w.missing(lost)...)
	}
	return text, lines, lost
}

// wrote records the result of writing lines.
func (w *Writer) wrote(err error, lines, lost uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = false
	if err != nil { // some may have been written; count them all as dropped
		w.dropped += lines
		w.lost += lines + lost
	}
	if w.idle != nil {
		close(w.idle)
		w.idle = nil
	}
}
