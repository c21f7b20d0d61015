// Package feedback remembers what was answered, so that labels that come later can be
// scored: a bounded number of items for each model, for a bounded time. It keeps the
// accuracies that were measured so beside those that were promised, and tells each new
// score to whoever plans by it.
//
// A label is scored as the profiler and a replay score a sample, by modelpkg. Of an
// answer only the first output is kept, which is what metrics score. Large outputs are
// not kept; then a client gives scores.
package feedback

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Config says how much is remembered.
type Config struct {
	Keep     time.Duration // how long after its answer an item can be labelled
	ItemsMax int           // items of one model that can be labelled
	// Served reports whether a model is served. The answers of others are forgotten when
	// another model gets its first answer. Nil: all are.
	Served func(name, version, digest string) bool
	// Sink, if not nil, gets what every accepted label says. It is called by the
	// goroutine that brought the labels, and must not wait.
	Sink func([]Evidence)
}

// Default bounds: labels of a day, and of a million items, which take about 130 bytes each
// for a model with ten classes.
const (
	KeepDefault     = 24 * time.Hour
	ItemsMaxDefault = 1_000_000
)

// Evidence is the score of one answered item.
type Evidence struct {
	Model, Version string
	Of             string  // the variant that answered it, or the cascade
	Score          float64 // in [0, 1]
	Sampled        bool    // it was chosen for labelling at random, from all that Of may answer
	Answered       slo.Instant
}

// Store remembers answers and measures labels. It is safe for concurrent use.
type Store struct {
	cfg         Config
	jobs, named maphash.Seed // for ids of the server's and of clients, so that they cannot be mistaken

	mu    sync.RWMutex
	books map[key]*book
}

// key is one build of a version of a model.
type key struct{ name, version, digest string }

// New returns an empty store.
func New(cfg Config) *Store {
	return &Store{cfg: cfg, jobs: maphash.MakeSeed(), named: maphash.MakeSeed(), books: map[key]*book{}}
}

// Answer is what was answered to one request.
type Answer struct {
	ID       string            // the client's; may be empty
	Job      string            // the server's
	Output   tensor.Tensor     // the model's first output
	Variants []int             // by item: the variant that answered it
	Failed   []int             // items without an answer
	Expected slo.Accuracy      // the promise: the expected mean over the items with an answer
	Low      slo.Accuracy      // its lower bound; 0: none
	Profile  *modelpkg.Profile // which the promise is from
	Routes   []Route           // by item: the route that it took; nil: those of Variants
	Answered slo.Instant
}

// Route is the route that an item took: a variant alone, or a cascade. Scores of cascades
// say nothing of the variants that answered: gates chose their items.
type Route struct {
	Name     string
	Accuracy slo.Accuracy // that was promised of it
	// Partial items did not take the route to its end. They never count as sampled, and
	// they count for the variant that answered.
	Partial bool
}

// Remember keeps an answer until it is too old or too many others have followed. A request
// with more items than a model may have is not kept. The newest of several requests with
// the same id is found by it; all are found by their jobs.
func (s *Store) Remember(m *modelpkg.Model, a Answer) {
	if len(a.Variants) > s.cfg.ItemsMax {
		return
	}
	s.book(m).remember(s, &a)
}

// book returns the book of a model, and makes it if need be. A model that was replaced by
// another of the same version has a book of its own.
func (s *Store) book(m *modelpkg.Model) *book {
	k := key{m.Name, m.Version, m.Digest}
	s.mu.RLock()
	b := s.books[k]
	s.mu.RUnlock()
	if b != nil {
		return b
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b = s.books[k]; b != nil {
		return b
	}
	for other := range s.books {
		if s.cfg.Served != nil && !s.cfg.Served(other.name, other.version, other.digest) {
			delete(s.books, other)
		}
	}
	b = newBook(m)
	s.books[k] = b
	return b
}

// hash returns the hash of an id. Two of a million ids have the same with a probability of
// 3e-8; then the newer one hides the older.
func hash(seed maphash.Seed, id string) uint64 { return max(1, maphash.String(seed, id)) }
