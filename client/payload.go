package client

import (
	"io"
	"sync"
	"sync/atomic"
)

// payload is the body of a request in a buffer that is reused. The HTTP
// transport may read a body even after it has returned the answer, and may open
// it a second time for another connection. So the buffer is reused only when all its
// holders have released it: Infer, and each reader.
type payload struct {
	bytes   []byte
	holders atomic.Int32
}

// payloads keeps buffers for reuse, except for those of rare huge requests.
var payloads = sync.Pool{New: func() any { return new(payload) }}

const payloadBytesKept = 1 << 20

// newPayload returns an empty payload that the caller holds.
func newPayload() *payload {
	p := payloads.Get().(*payload)
	p.bytes = p.bytes[:0]
	p.holders.Store(1)
	return p
}

// release ends the hold of one holder.
func (p *payload) release() {
	if p.holders.Add(-1) == 0 && cap(p.bytes) <= payloadBytesKept {
		payloads.Put(p)
	}
}

// reader makes a reader that holds the payload until it is closed.
func (p *payload) reader() io.ReadCloser {
	p.holders.Add(1)
	return &payloadReader{payload: p}
}

// again makes a reader for http.Request.GetBody.
func (p *payload) again() (io.ReadCloser, error) { return p.reader(), nil }

// payloadReader reads a payload once. Close may be called while Read runs in another
// goroutine, and more than once.
type payloadReader struct {
	mu      sync.Mutex
	payload *payload // nil: closed
	offset  int
}

// Read implements io.Reader.
func (r *payloadReader) Read(dst []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.payload == nil {
		return 0, io.ErrClosedPipe
	}
	n := copy(dst, r.payload.bytes[r.offset:])
	r.offset += n
	if r.offset == len(r.payload.bytes) {
		return n, io.EOF
	}
	return n, nil
}

// Close implements io.Closer.
func (r *payloadReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.payload != nil {
		r.payload.release()
		r.payload = nil
	}
	return nil
}
