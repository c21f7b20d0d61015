package sizing

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

func standard(cores int) Size {
	instances, threads := runtime.Defaults(cores)
	return Size{instances, threads}
}

func TestDecide(t *testing.T) {
	type rates = map[Size]float64
	for name, c := range map[string]struct {
		cores int
		rates rates
		want  Size
	}{
		"two cores":                 {2, rates{{2, 1}: 200, {1, 1}: 100, {1, 2}: 190}, Size{2, 1}},
		"two halves of one core":    {2, rates{{2, 1}: 105, {1, 1}: 100, {1, 2}: 100}, Size{1, 1}},
		"threads that pay":          {2, rates{{2, 1}: 150, {1, 1}: 100, {1, 2}: 180}, Size{1, 2}},
		"threads that pay a little": {2, rates{{2, 1}: 190, {1, 1}: 100, {1, 2}: 200}, Size{2, 1}},
		"one core":                  {1, rates{{1, 1}: 100, {2, 1}: 99, {1, 2}: 120}, Size{1, 1}},
		"eight cores":               {8, rates{{7, 1}: 690, {3, 1}: 300, {1, 1}: 100, {2, 1}: 200, {1, 2}: 190}, Size{7, 1}},
		"a full path to memory":     {8, rates{{7, 1}: 310, {3, 1}: 300, {1, 1}: 100, {2, 1}: 200, {1, 2}: 190}, Size{3, 1}},
		"fewer run more":            {8, rates{{7, 1}: 200, {3, 1}: 300, {1, 1}: 100, {2, 1}: 200, {1, 2}: 190}, Size{3, 1}},
		"a device":                  {16, rates{{15, 1}: 1000, {7, 1}: 1000, {3, 1}: 990, {1, 1}: 950, {2, 1}: 980, {1, 2}: 950}, Size{1, 1}},
		"threads on eight":          {8, rates{{7, 1}: 690, {3, 1}: 300, {1, 1}: 100, {2, 1}: 200, {1, 2}: 300}, Size{3, 2}},
	} {
		var list []Rate
		for _, s := range sizes(standard(c.cores)) {
			if c.rates[s] == 0 {
				t.Errorf("%s: %v is not given", name, s)
			}
			list = append(list, Rate{s, c.rates[s]})
		}
		got, why := Decide(standard(c.cores), list)
		if got != c.want || !strings.Contains(why, "items/s") {
			t.Errorf("%s: %v, want %v; %s", name, got, c.want, why)
		}
	}
}

// machine is a runtime on a machine in which some runs at a time do not slow each other
// down.
type machine struct {
	runtime.Runtime
	width  int
	batch  time.Duration // one batch with one thread
	each   bool          // its time is that of eight items
	fails  error
	panics bool // runs do
	open   atomic.Int64
	turn   chan struct{} // of who takes cores
	cores  chan struct{} // that are taken
}

func (m *machine) Load(_ context.Context, _ *modelpkg.Model, o runtime.Options) (runtime.Instance, error) {
	m.open.Add(1)
	return &part{machine: m, threads: int64(o.Threads)}, nil
}

func (*machine) Name() string    { return "machine" }
func (*machine) Version() string { return "1" }

type part struct {
	runtime.Instance
	machine *machine
	threads int64
}

func (p *part) Run(_ context.Context, _ int, items []runtime.Item) ([]tensor.Tensor, error) {
	threads := min(int(p.threads), cap(p.machine.cores)) // further ones wait for each other
	p.machine.turn <- struct{}{}
	for range threads {
		p.machine.cores <- struct{}{}
	}
	<-p.machine.turn
	defer func() {
		for range threads {
			<-p.machine.cores
		}
	}()
	if p.machine.panics {
		panic("the binding is broken")
	}
	batch := float64(p.machine.batch)
	if p.machine.each {
		batch *= float64(len(items)) / 8
	}
	time.Sleep(time.Duration(batch / float64(threads)))
	return nil, p.machine.fails
}

func (p *part) Close() error { p.machine.open.Add(-1); return nil }

// example returns the example model and its profile, for measurements in virtual time.
func example(t *testing.T) (*modelpkg.Model, *modelpkg.Profile) {
	t.Helper()
	m, err := modelpkg.Load("../../../models/digits")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := modelpkg.FindProfile(m, "cpu")
	if err != nil {
		t.Fatal(err)
	}
	waited = func() time.Duration { return 0 }
	t.Cleanup(func() { waited = runtime.Waited })
	return m, profile
}

func TestChoose(t *testing.T) {
	m, profile := example(t)
	none := *m
	none.Evaluation.Profile = ""
	broken := errors.New("it is broken")
	for name, c := range map[string]struct {
		machine *machine
		model   *modelpkg.Model
		want    Size
		err     string
	}{
		"every core counts":   {&machine{width: 8, batch: 5 * time.Millisecond}, m, Size{7, 1}, ""},
		"half of them count":  {&machine{width: 3, batch: 5 * time.Millisecond}, m, Size{3, 1}, ""},
		"long batches":        {&machine{width: 8, batch: 200 * time.Millisecond, each: true}, m, Size{7, 1}, ""},
		"too long batches":    {&machine{width: 8, batch: 2 * time.Second, each: true}, m, Size{7, 1}, "one item takes 250ms, too long"},
		"it fails":            {&machine{width: 8, batch: time.Millisecond, fails: broken}, m, Size{7, 1}, "it is broken"},
		"it panics":           {&machine{width: 8, batch: time.Millisecond, panics: true}, m, Size{7, 1}, "the runtime panicked: the binding is broken"},
		"nothing to run with": {&machine{width: 8, batch: time.Millisecond}, &none, Size{7, 1}, "has no samples"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.machine.turn, c.machine.cores = make(chan struct{}, 1), make(chan struct{}, c.machine.width)
				began := time.Now()
				got, why, err := Choose(t.Context(), c.machine, c.model, profile, standard(8))
				if got != c.want || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, %s, %v", got, why, err)
				}
				if took := time.Since(began); took > time.Second && c.machine.batch <= 200*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				if n := c.machine.open.Load(); n != 0 {
					t.Errorf("%d instances are left", n)
				}
			})
		})
	}
}

func TestPick(t *testing.T) {
	m := &modelpkg.Model{Variants: []modelpkg.Variant{{}, {}, {Remote: &modelpkg.Remote{}}, {}}}
	for name, c := range map[string]struct {
		times [4]float64
		want  int
	}{
		"the longest that is short": {[4]float64{5, 20, 1, 80}, 1},
		"first too long":            {[4]float64{50, 20, 1, 80}, 1},
		"all too long":              {[4]float64{90, 80, 1, 100}, 1},
	} {
		p := &modelpkg.Profile{}
		for _, took := range c.times {
			p.Variants = append(p.Variants, modelpkg.VariantProfile{Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: 0.1}, {Items: 8, P50MS: took}, {Items: 16, P50MS: 1000}}})
		}
		if got := pick(m, p, 40*time.Millisecond); got != c.want {
			t.Errorf("%s: variant %d, want %d", name, got, c.want)
		}
	}
	if got := pick(&modelpkg.Model{Variants: m.Variants[2:3]}, &modelpkg.Profile{}, time.Second); got != -1 {
		t.Errorf("of variants on other servers only: %d", got)
	}
}

func TestWaited(t *testing.T) {
	if before := waited(); before < 0 || waited() < before {
		t.Error("the time that a thread has waited goes backwards")
	}
}

// TestAChoiceIsRemembered starts a server again: on the same machine for the same model
// nothing runs; otherwise, or when the file is damaged or old, it is measured.
func TestAChoiceIsRemembered(t *testing.T) {
	m, profile := example(t)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		cache, busy := cachedir.NewCache([]cachedir.Dir{cachedir.At(dir)}, 1<<20), 1e6
		choose := func(about string, m *modelpkg.Model, most Size, width int) (Size, string, bool) {
			machine := &machine{width: width, batch: 5 * time.Millisecond, turn: make(chan struct{}, 1), cores: make(chan struct{}, width)}
			began := time.Now()
			memory := NewMemory(cache, about)
			memory.load = func() float64 { return busy }
			size, why, err := memory.Choose(t.Context(), machine, m, profile, most)
			if err != nil {
				t.Fatal(err)
			}
			return size, why, time.Since(began) > 0
		}
		choose("cpu", m, standard(8), 1)
		busy = 0 // what was measured on a busy machine is not kept
		first, why, measured := choose("cpu", m, standard(8), 8)
		if first != (Size{7, 1}) || !measured {
			t.Fatalf("%v, measured %v", first, measured)
		}
		again, later, measured := choose("cpu", m, standard(8), 3) // a measurement would choose three instances
		if again != first || measured || !strings.HasPrefix(later, why+", as measured on 20") {
			t.Errorf("again: %v, measured %v, %s", again, measured, later)
		}
		changed := *m
		changed.Digest = "sha256:other"
		for what, c := range map[string]struct {
			about string
			model *modelpkg.Model
			most  Size
		}{"another provider": {"cuda", m, standard(8)}, "another model": {"cpu", &changed, standard(8)}, "fewer instances": {"cpu", m, Size{5, 1}}} {
			if _, _, measured := choose(c.about, c.model, c.most, 8); !measured {
				t.Error(what + ": not measured")
			}
		}
		time.Sleep(keptFor)
		if size, _, measured := choose("cpu", m, standard(8), 3); !measured || size != (Size{3, 1}) {
			t.Errorf("after a week: %v, measured %v", size, measured)
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*.kept"))
		for _, file := range files {
			if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, measured := choose("cpu", m, standard(8), 8); !measured {
			t.Error("damaged: not measured")
		}
	})
}
