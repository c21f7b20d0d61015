// Package asynclog is a writer for logs that never makes its caller wait: lines go
// to a bounded buffer, and a goroutine writes them on. A log whose reader has
// stopped, or has gone, must not hold up a server. What finds no room is dropped
// and counted, and when lines flow again, one of them says how many are missing.
package asynclog

import (
	"context"
	"io"
	"sync"
)

// BytesMax is a good bound on the bytes that wait: some thousand lines.
const BytesMax = 1 << 20

// Writer is an io.Writer that does not block. It is safe for concurrent use.
type Writer struct {
	to       io.Writer
	bytesMax int
	missing  func(lines uint64) []byte

	mu      sync.Mutex
	buffer  []byte
	lines   uint64 // in the buffer
	lost    uint64 // dropped, and not yet told
	dropped uint64 // in all
	writing bool   // the goroutine has lines that it has not written yet
	idle    chan struct{}
	wake    chan struct{}
}

// New makes a writer that keeps up to bytesMax bytes until they are written.
// missing makes the line that says how many were dropped. The writer's goroutine
// lives as long as the program.
func New(to io.Writer, bytesMax int, missing func(lines uint64) []byte) *Writer {
	w := &Writer{to: to, bytesMax: bytesMax, missing: missing, wake: make(chan struct{}, 1)}
	go w.run()
	return w
}

// Write takes one line, or drops it. It never fails.
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
	default: // it is awake
	}
	return len(line), nil
}

// Dropped is how many lines have been dropped: for want of room, or because they
// could not be written.
func (w *Writer) Dropped() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Flush waits until all lines have been written or ctx has ended; the error is
// ctx's.
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

// run writes what waits.
func (w *Writer) run() {
	var spare []byte
	for range w.wake {
		text, lines, lost := w.take(spare)
		_, err := w.to.Write(text)
		w.wrote(err, lines, lost)
		spare = text[:0]
	}
}

// take takes all that waits. Lines are dropped while the buffer is full, so those
// that are missing come after those in it.
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

// wrote notes what has become of lines.
func (w *Writer) wrote(err error, lines, lost uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = false
	if err != nil { // some may have been written: which, nobody knows
		w.dropped += lines
		w.lost += lines + lost
	}
	if w.idle != nil {
		close(w.idle)
		w.idle = nil
	}
}
