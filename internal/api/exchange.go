package api

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// exchange is the memory of one inference: the body, the decoded data, and the answer.
// Tensors are views of the body, and items are views of the tensors, so all of it is in
// use until the engine has returned. Then it is reused.
type exchange struct {
	reader  bodyReader // for the body
	body    []byte
	request oip.Request
	inputs  [][]byte // of all items, one after the other
	items   []runtime.Item
	given   []*tensor.Tensor // by input of the model, of request
	files   []bool           // by input of the model: the items hold files; nil: none
	answer  []byte

	budget   *budget
	reserved int64 // from the budget
	room     int64 // the part of it for the body
	engaged  bool  // the engine may read the items
}

// exchanges keeps memory for reuse, except for the buffers of rare huge requests.
var exchanges = sync.Pool{New: func() any { return new(exchange) }}

const bytesKept = 1 << 20

// sliceBytes is the size of a slice without its elements.
const sliceBytes = 24

func newExchange(b *budget) *exchange {
	x := exchanges.Get().(*exchange)
	x.budget = b
	return x
}

// release frees what the exchange holds. If the engine panicked, it may still read the
// memory, which is then left to the garbage collector.
func (x *exchange) release() {
	x.budget.release(x.reserved)
	if x.engaged {
		return
	}
	clear(x.inputs)
	clear(x.items)
	clear(x.given)
	for i := range x.request.Inputs {
		x.request.Inputs[i].Data = nil
	}
	x.body, x.answer, x.reserved, x.room, x.reader = keep(x.body), keep(x.answer), 0, 0, bodyReader{}
	if cap(x.inputs) > bytesKept/sliceBytes {
		x.inputs, x.items = nil, nil
	}
	exchanges.Put(x)
}

func keep(b []byte) []byte {
	if cap(b) > bytesKept {
		return nil
	}
	return b[:0]
}

// rows makes room for n items with k inputs each, all absent.
func (x *exchange) rows(n, k int) {
	if cap(x.inputs) < n*k {
		x.inputs = make([][]byte, n*k)
	}
	if cap(x.items) < n {
		x.items = make([]runtime.Item, n)
	}
	x.inputs, x.items = x.inputs[:n*k], x.items[:n]
	for i := range x.items {
		x.items[i] = x.inputs[i*k : (i+1)*k : (i+1)*k]
	}
}

// readAhead is the most memory that is reserved for a body before any of it is received,
// so that a client must send much to claim much. All connections that a server accepts
// (4096) can claim a quarter of the budget by sending nothing.
const readAhead = 64 << 10

// read reads a body of size bytes (-1: unknown) into the exchange.
func (x *exchange) read(src io.Reader, size, bytesMax int64) error {
	x.body = x.body[:0]
	room := int64(bytes.MinRead)
	if size >= 0 {
		room = min(size, readAhead) + 1 // one more, to detect the end without growing
	}
	for size <= bytesMax {
		if err := x.grow(room); err != nil {
			return err
		}
		end, err := x.fill(src)
		n := int64(len(x.body))
		if n > bytesMax {
			break
		}
		if end || err != nil {
			return err
		}
		if room = n; n <= size { // double, or up to four times if the size is known
			room = min(3*n, size+1-n)
		}
	}
	return slo.E("", slo.KindTooLarge, "the body has more than %d bytes", bytesMax)
}

// fill reads until the room is used up or the body ends.
func (x *exchange) fill(src io.Reader) (end bool, err error) {
	for int64(len(x.body)) < x.room {
		n, err := src.Read(x.body[len(x.body):x.room])
		x.body = x.body[:len(x.body)+n]
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// grow makes room for n more bytes of the body, within the budget.
func (x *exchange) grow(n int64) error {
	want := int64(len(x.body)) + n
	if err := x.reserve(want - x.room); err != nil {
		return err
	}
	x.room = want
	if want > int64(cap(x.body)) {
		x.body = append(make([]byte, 0, want), x.body...)
	}
	return nil
}

// reserve takes n bytes of the budget until the exchange is released. A request that the
// whole budget has no room for is too large: coming back later would not help.
func (x *exchange) reserve(n int64) error {
	if need := x.reserved + n; need > x.budget.max {
		return slo.E("", slo.KindTooLarge, "the request needs %d bytes of memory, more than the %d for all requests together: send fewer items", need, x.budget.max)
	}
	if !x.budget.reserve(n) {
		return slo.E("", slo.KindOverloaded, "the server is busy: the bodies of the requests under way have reached their bound of %d bytes in total", x.budget.max)
	}
	x.reserved += n
	return nil
}

// hold adds n bytes, which may be below 0, to what the exchange holds, even beyond the
// budget; then the next requests are shed.
func (x *exchange) hold(n int64) {
	x.budget.used.Add(n)
	x.reserved += n
}

// budget is the bytes that all exchanges together may hold.
type budget struct {
	max  int64
	used atomic.Int64
}

func (b *budget) reserve(n int64) bool {
	if b.used.Add(n) > b.max {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) release(n int64) { b.used.Add(-n) }
