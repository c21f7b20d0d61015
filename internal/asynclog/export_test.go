package asynclog

// Stop ends the goroutine of a writer.
func Stop(w *Writer) { close(w.wake) }
