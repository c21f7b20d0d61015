package sizing

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
)

// keptFor is how long a choice is used again. Then it is measured anew: the machine may
// have other neighbours, and another program may have disturbed the measurement.
const keptFor = 7 * 24 * time.Hour

// Memory keeps choices, so that a server that starts again does not measure again.
type Memory struct {
	cache *cachedir.Cache
	about []string
	load  func() float64 // of the machine, before the measurement
}

// NewMemory returns a memory. A choice is used again only for the same model on the same
// processor, with as many cores and with the same runtime, and if about is the same.
func NewMemory(cache *cachedir.Cache, about ...string) Memory { return Memory{cache, about, load} }

// choice is what a file has.
type choice struct {
	Instances int       `json:"instances"`
	Threads   int       `json:"threads"`
	Why       string    `json:"why"`
	At        time.Time `json:"at"`
}

// Choose is the function Choose, or its result for the same at most keptFor ago.
func (k Memory) Choose(ctx context.Context, rt runtime.Runtime, m *modelpkg.Model, p *modelpkg.Profile, most Size) (Size, string, error) {
	parts := append([]string{"sizing", m.Digest, rt.Name(), rt.Version(), most.String(), fmt.Sprint(runtime.Cores(), " cores"), fmt.Sprint(budget, rounds, batchItems)}, k.about...)
	key := cachedir.Key(parts...)
	if c, ok := k.recall(key, most); ok {
		return Size{c.Instances, c.Threads}, fmt.Sprintf("%s, as measured on %s", c.Why, c.At.Format("2006-01-02 at 15:04")), nil
	}
	before := k.load()
	size, why, err := Choose(ctx, rt, m, p, most)
	if err != nil || m.Digest == "" || before > busyLoad*float64(runtime.Cores()) {
		return size, why, err
	}
	content, err := json.Marshal(choice{size.Instances, size.Threads, why, time.Now().UTC().Truncate(time.Second)})
	if err == nil {
		_ = k.cache.Put(key, content) // the next start measures again, no more
	}
	return size, why, nil
}

// busyLoad is the load, as a share of the cores, above which a measurement is not kept:
// other programs may have disturbed it.
const busyLoad = 0.5

// load is how many threads ran or waited for a core, on average over the last minute; 0
// where the system does not say.
func load() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	average, _ := strconv.ParseFloat(first, 64)
	return average
}

// recall returns a choice that is kept, if it can still be used.
func (k Memory) recall(key string, most Size) (c choice, ok bool) {
	content, ok := k.cache.Get(key)
	if !ok || json.Unmarshal(content, &c) != nil {
		return c, false
	}
	age := time.Since(c.At)
	fits := c.Instances >= 1 && c.Instances <= most.Instances && c.Threads >= 1 && c.Threads <= 2
	return c, fits && age >= 0 && age < keptFor
}
