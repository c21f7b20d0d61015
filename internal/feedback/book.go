package feedback

import (
	"slices"
	"sync"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Bounds on the answers that are kept.
const (
	// rowBytesMax bounds the answer to one item: a thousand classes in FP32.
	rowBytesMax = 4 << 10
	// rowBytesMean bounds the answers of a model together: this much for each of the
	// items that may be kept. If they are larger, fewer are kept.
	rowBytesMean = 256
)

// book has the answers of one model, and what was measured on them.
type book struct {
	labels  bool // a label can be scored, so answers are kept
	mu      sync.Mutex
	index   map[uint64]uint64 // by hash of an id: the position of the request
	answers queue[answered]
	items   queue[item]
	rows    queue[byte]
	unknown int
	names   []string // of what is measured: the variants, then the cascades that have answered
	tallies []tally  // by name
}

// answered is a request that was answered.
type answered struct {
	job, named uint64 // hashes of its ids; named 0: it has only one
	at         slo.Instant
	item       uint64 // position of its first item
	row        uint64 // position of its first row
	count      int32  // of items
	rowBytes   int32  // of each item's answer; 0: not kept
	low        slo.Accuracy
	dtype      tensor.DType
}

// item is an item of such a request.
type item struct {
	promised slo.Accuracy
	of       uint16 // place in the names
	state    state
	partial  bool // its score says nothing of a name
}

// state is what is known of an item.
type state uint8

const (
	open state = iota
	labelled
	failed // it has no answer
)

func newBook(m *modelpkg.Model) *book {
	b := &book{labels: m.Unlabelled() == "", index: map[uint64]uint64{}}
	for _, v := range m.Variants {
		b.place(v.Name)
	}
	return b
}

// place returns the place of a name, and adds it if it is new.
func (b *book) place(name string) int {
	at := slices.Index(b.names, name)
	if at < 0 {
		at, b.names, b.tallies = len(b.names), append(b.names, name), append(b.tallies, tally{})
	}
	return at
}

// remember adds an answer, and forgets as many old ones as that needs.
func (b *book) remember(s *Store, a *Answer) {
	n := len(a.Variants)
	e := answered{job: hash(s.jobs, a.Job), at: a.Answered, count: int32(n), low: a.Low, dtype: a.Output.DType}
	if a.ID != "" {
		e.named = hash(s.named, a.ID)
	}
	if size := rowSize(a.Output, n); b.labels && size <= rowBytesMax && size*n <= s.cfg.ItemsMax*rowBytesMean {
		e.rowBytes = int32(size)
	}
	mixed, shift := a.promise()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(s, a.Answered, n, int(e.rowBytes)*n)
	e.item, e.row = b.items.tail, b.rows.tail
	for i, v := range a.Variants {
		one := item{promised: a.Expected, of: uint16(v)}
		if mixed {
			one.promised = a.accuracy(i) + shift
		}
		if a.Routes != nil {
			if one.partial = a.Routes[i].Partial; !one.partial {
				one.of = uint16(b.place(a.Routes[i].Name))
			}
		}
		b.items.put(one)
	}
	for _, i := range a.Failed {
		b.items.at(e.item + uint64(i)).state = failed
	}
	if e.rowBytes > 0 {
		b.rows.putAll(a.Output.Data)
	}
	b.index[e.job] = b.answers.tail
	if e.named != 0 {
		b.index[e.named] = b.answers.tail
	}
	b.answers.put(e)
}

// rowSize returns the bytes of the answer to one of n items; 0 if it cannot be scored.
func rowSize(output tensor.Tensor, n int) int {
	if output.DType == tensor.Bytes || output.Rows() != n || len(output.Data)%n != 0 {
		return 0
	}
	return len(output.Data) / n
}

// promise tells how the items' promises differ. A request promises a mean. If its items took
// different routes, each has the accuracy of its route, shifted so that the mean is what was
// promised.
func (a *Answer) promise() (mixed bool, shift slo.Accuracy) {
	for i := range a.Variants {
		mixed = mixed || a.Routes == nil && a.Variants[i] != a.Variants[0] || a.Routes != nil && a.Routes[i] != a.Routes[0]
	}
	if !mixed {
		return false, 0
	}
	var sum slo.Score
	for i := range a.Variants {
		sum += slo.Score(a.accuracy(i))
	}
	for _, i := range a.Failed {
		sum -= slo.Score(a.accuracy(i))
	}
	return true, a.Expected - sum.Mean(len(a.Variants)-len(a.Failed))
}

// accuracy is what an item's route promises.
func (a *Answer) accuracy(item int) slo.Accuracy {
	if a.Routes != nil {
		return a.Routes[item].Accuracy
	}
	return slo.Accuracy(a.Profile.Variants[a.Variants[item]].Accuracy.Mean*float64(slo.AccuracyUnit) + 0.5)
}

// forget removes the oldest answers that are too old, or in the way of so many more items
// and bytes.
func (b *book) forget(s *Store, now slo.Instant, items, bytes int) {
	for b.answers.len() > 0 {
		e := b.answers.at(b.answers.head)
		if now.Sub(e.at) <= s.cfg.Keep && b.items.len()+items <= s.cfg.ItemsMax && b.rows.len()+bytes <= s.cfg.ItemsMax*rowBytesMean {
			return
		}
		for _, id := range [...]uint64{e.job, e.named} {
			if at, ok := b.index[id]; ok && at == b.answers.head {
				delete(b.index, id)
			}
		}
		b.items.drop(int(e.count))
		b.rows.drop(int(e.count) * int(e.rowBytes))
		b.answers.drop(1)
	}
}

// find returns the newest request with an id; false if none is known. A server's id is
// looked up first, so nobody can hide an answer by using its job as an id.
func (b *book) find(s *Store, id string, now slo.Instant) (answered, bool) {
	at, ok := b.index[hash(s.jobs, id)]
	if !ok {
		at, ok = b.index[hash(s.named, id)]
	}
	if !ok {
		return answered{}, false
	}
	e := *b.answers.at(at)
	return e, now.Sub(e.at) <= s.cfg.Keep
}
