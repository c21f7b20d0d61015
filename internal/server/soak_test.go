package server_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/tensor"
)

var (
	soakFor  = flag.Duration("soak", 2*time.Second, "how long TestSoak sends requests")
	soakSeed = flag.Uint64("soakseed", 0, "seed of what TestSoak sends; 0 draws one")
)

// TestSoak sends random requests to a real server, valid, invalid and cut off, on many
// connections at once. It checks that every answer is one that the protocol's document
// allows, that outputs belong to the items that were sent, that the core's counts add
// up, and that at the end goroutines, open files and memory are as at the start. The
// seed determines what is sent, but not the timing.
func TestSoak(t *testing.T) {
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test ./internal/server -run 'TestSoak$' -v -soak %v -soakseed %d", *soakFor, seed)
	s := newSoak(t, seed)
	s.run(*soakFor)
	for _, f := range s.failures {
		t.Error(f)
	}
	t.Log(s.summary())
	if *soakFor >= time.Second {
		for _, status := range []int{200, 400, 404, 405, 413, 422, 429, 501, 504} {
			if s.seen[status] == 0 {
				t.Errorf("no request was answered %d: the soak does not test what it should", status)
			}
		}
	}
}

// soakClients send at the same time. Each is a goroutine with its own random stream.
const soakClients = 24

// soak is one run.
type soak struct {
	seed                  uint64
	sorts                 []sort // of requests
	clients               int    // sending at the same time
	dir                   string
	models                []soakModel
	server                *server.Server
	addr                  string
	grpcAddr, metricsAddr string
	visits                sync.Mutex                     // held while the guest is loaded or unloaded
	sabotage              func(answered []tensor.Tensor) // applied to every run of the runtime after warm-up; nil: none
	warm                  atomic.Bool
	goneWithin            time.Duration // how soon the server must notice cancelled requests

	mu       sync.Mutex
	failures []string
	seen     map[int]int    // answers by status; 0 is no answer
	sent     map[string]int // requests by sort
}

// soakModel is a model with its expected accuracies by variant.
type soakModel struct {
	*modelpkg.Model
	accuracy []float64
}

// soakFailuresMax is how many failures are reported before the run ends.
const soakFailuresMax = 10

// soakBodyMax is the server's bound on a body. It is small, so that requests often
// exceed it.
const soakBodyMax = 256 << 10

func newSoak(t *testing.T, seed uint64) *soak {
	t.Helper()
	s := &soak{seed: seed, dir: filepath.Join(t.TempDir(), "models"), sorts: allSorts, clients: soakClients, goneWithin: 20 * time.Second, seen: map[int]int{}, sent: map[string]int{}}
	spec := func(name string, d tensor.DType, shape ...int64) modelpkg.Spec {
		return modelpkg.Spec{Name: name, DType: d, Shape: shape}
	}
	scores := spec("scores", tensor.FP32, 499) // enough classes that no two items have the same answer by chance
	s.add(t, modelpkgtest.Model("numbers", []modelpkg.Spec{spec("x", tensor.FP32, 28, 28)}, scores, "x"), 0.9)
	s.add(t, modelpkgtest.Model("bytes", []modelpkg.Spec{spec("x", tensor.Uint8, 1000)}, scores, "x"), 0.8)
	s.add(t, modelpkgtest.Model("scene", []modelpkg.Spec{spec("image", tensor.Uint8, 6, 6), spec("wave", tensor.Int16, -1), spec("text", tensor.Uint8, 12)},
		scores, "text", "image", "image_text", "image_wave_text"), 0.6, 0.8, 0.9, 0.99)
	visitor, err := writeGuest(s.dir, 8)
	if err != nil {
		t.Fatal(err)
	}
	s.models = append(s.models, soakModel{visitor, []float64{0.7}})
	return s
}

// add writes a model. More accurate variants take longer.
func (s *soak) add(t *testing.T, m *modelpkg.Model, accuracy ...float64) {
	t.Helper()
	m.Limits.BatchItemsMax = 8
	var measured []modelpkgtest.Measured
	for i, a := range accuracy {
		measured = append(measured, modelpkgtest.Measured{Accuracy: a, Item: time.Duration(i+1) * 20 * time.Microsecond, Batch: 200 * time.Microsecond})
	}
	loaded, err := modelpkgtest.Write(s.dir, m, measured)
	if err != nil {
		t.Fatal(err)
	}
	s.models = append(s.models, soakModel{loaded, accuracy})
}

// fail records a failure.
func (s *soak) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failures) < soakFailuresMax {
		s.failures = append(s.failures, fmt.Sprintf(format, args...))
	}
}

func (s *soak) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.failures) >= soakFailuresMax
}

// count records what was sent and the answer's status.
func (s *soak) count(what string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[what]++
	s.seen[status]++
}

func (s *soak) summary() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(s.sent)) {
		fmt.Fprintf(&b, "%s %d, ", what, s.sent[what])
	}
	b.WriteString("answered")
	for _, status := range slices.Sorted(maps.Keys(s.seen)) {
		fmt.Fprintf(&b, " %d: %d", status, s.seen[status])
	}
	return b.String()
}

// run starts the server, lets the clients send, and checks what is left at the end.
func (s *soak) run(span time.Duration) {
	bombs() // making them takes seconds, which must not count as the server's delay
	before := takeStock()
	if err := s.start(); err != nil {
		s.fail("start: %v", err)
		return
	}
	idle := takeStock()
	s.onslaught(0) // some of everything, so that whatever is allocated once exists
	idle.heap = math.MaxInt64
	sound := s.settle("after the first requests", idle)
	idle.heap = takeStock().heap
	if sound {
		s.onslaught(span)
		sound = s.settle("after the last request", idle)
	}
	if sound {
		s.wholeBudget()
	}
	if err := s.server.Shutdown(context.Background()); err != nil {
		s.fail("shut down: %v", err)
	}
	if s.server = nil; sound {
		before.heap = idle.heap // packages keep what their first use allocated
		s.settle("after the shutdown", before)
	}
}

// start starts the server with small bounds, so that requests reach all of them.
func (s *soak) start() (err error) {
	cfg := server.Default(2)
	cfg.ModelsDir, cfg.Addr, cfg.GRPCAddr, cfg.MetricsAddr = s.dir, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Instances = 2
	cfg.QueueItemsMax, cfg.QueueJobsMax = 60, 20
	cfg.API.BodyBytesMax = soakBodyMax
	cfg.Recent = 100 // a ring buffer that fills is no leak
	cfg.API.BodyBytesInFlight = budgetParts * (partBytes + 1)
	cfg.API.ItemsMax = 40
	profiles, err := s.profiles()
	if err != nil {
		return err
	}
	cfg.Runtime = saboteur{fake.New(fake.Config{Profiles: profiles}), s.act}
	if s.server, err = server.New(cfg); err != nil {
		return err
	}
	if err := s.server.Start(); err != nil {
		return err
	}
	s.addr, s.grpcAddr, s.metricsAddr = s.server.Addr().String(), s.server.GRPCAddr().String(), s.server.MetricsAddr().String()
	err = s.server.Warm(context.Background())
	s.warm.Store(true)
	return err
}

// act applies the sabotage to a run's answers.
func (s *soak) act(answered []tensor.Tensor) {
	if s.sabotage != nil && s.warm.Load() {
		s.sabotage(answered)
	}
}

func (s *soak) profiles() (profiles []*modelpkg.Profile, err error) {
	for _, m := range s.models {
		p, err := modelpkg.FindProfile(m.Model, "")
		if err != nil {
			return nil, err
		}
		profiles = append(profiles, p)
	}
	return profiles, nil
}

// onslaught lets all clients send for a time, and each at least one request of every
// sort.
func (s *soak) onslaught(span time.Duration) {
	began := time.Now()
	var group sync.WaitGroup
	for i := range s.clients {
		group.Go(func() {
			c := newSoakClient(s, uint64(i))
			defer c.leave()
			for n := 0; !s.failed() && (n < len(s.sorts) || time.Since(began) < span); n++ {
				if n < len(s.sorts) {
					c.send(s.sorts[(i+n)%len(s.sorts)])
				} else {
					c.send(c.anySort())
				}
				s.balance(false)
			}
		})
	}
	group.Wait()
}

// balance checks the core's counts (I-1); at rest no work is left.
func (s *soak) balance(rest bool) {
	c := s.server.Counts()
	if c.Arrived != c.Finished+c.Queued+c.Running {
		s.fail("I-1: %+v", c)
	}
	if rest && (c.Jobs != 0 || c.Queued != 0 || c.Running != 0) {
		s.fail("at rest: %+v", c)
	}
}

// stock is the resources that a process holds.
type stock struct {
	goroutines int
	files      int // open ones; 0 if unknown
	heap       int64
}

func (s stock) String() string {
	return fmt.Sprintf("goroutines: %d, files: %d, heap: %d KiB", s.goroutines, s.files, s.heap>>10)
}

// heapSlack is the allowed difference of live memory between two stocks: pools and
// buffers of libraries depend on the timing of requests.
const heapSlack = 1 << 20

func takeStock() stock {
	goruntime.GC()
	goruntime.GC() // the second collection frees the pools
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	files, _ := os.ReadDir("/proc/self/fd") // none on systems without this directory
	return stock{goroutines: goruntime.NumGoroutine(), files: len(files), heap: int64(m.HeapAlloc)}
}

// settle waits until no work is left and no more resources are held than before, and
// reports whether that happened in time.
func (s *soak) settle(when string, was stock) bool {
	late := time.Now().Add(s.goneWithin)
	for {
		is := takeStock()
		jobs := 0
		if s.server != nil {
			jobs = s.server.Counts().Jobs
		}
		if jobs == 0 && is.goroutines <= was.goroutines && is.files <= was.files && is.heap-heapSlack <= was.heap {
			break
		}
		if time.Now().After(late) {
			var stacks [64 << 10]byte
			n := 0
			if is.goroutines > was.goroutines {
				n = goruntime.Stack(stacks[:], true)
			}
			s.fail("%s: %d jobs, %v; in the beginning %v\n%s", when, jobs, is, was, stacks[:n])
			return false
		}
	}
	if s.server != nil {
		s.balance(true)
	}
	return true
}

// saboteur is a runtime whose answers are modified.
type saboteur struct {
	runtime.Runtime
	act func([]tensor.Tensor)
}

type sabotaged struct {
	runtime.Instance
	act func([]tensor.Tensor)
}

func (r saboteur) Load(ctx context.Context, m *modelpkg.Model, o runtime.Options) (runtime.Instance, error) {
	in, err := r.Runtime.Load(ctx, m, o)
	return sabotaged{in, r.act}, err
}

func (in sabotaged) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	out, err := in.Instance.Run(ctx, variant, items)
	if err == nil {
		in.act(out)
	}
	return out, err
}

// TestSoakNotices checks that the soak finds the defects it is meant to find.
func TestSoakNotices(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	var kept [][]byte
	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	var mu sync.Mutex // instances run at the same time
	swap := func(out []tensor.Tensor) {
		first, last := out[0].Row(0), out[0].Row(out[0].Rows()-1)
		for i := range first {
			first[i], last[i] = last[i], first[i]
		}
	}
	for _, tc := range []struct {
		name string
		act  func(out []tensor.Tensor)
		says string
	}{
		{"two items' answers swapped", swap, "is not the answer to item"},
		{"the same, over gRPC", swap, "is not the answer to item"},
		{"a goroutine left behind", func([]tensor.Tensor) { go func() { <-hold }() }, "goroutines:"},
		{"a file left open", func([]tensor.Tensor) {
			if f, err := os.Open(os.DevNull); err == nil {
				files = append(files, f)
			}
		}, "files:"},
		{"memory kept", func([]tensor.Tensor) { kept = append(kept, make([]byte, 100<<10)) }, "heap:"},
		{"a defect", func([]tensor.Tensor) { panic("sabotage") }, "500"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSoak(t, 1)
			s.goneWithin = time.Second
			s.clients = 6
			if strings.HasSuffix(tc.name, "over gRPC") {
				s.sorts = overGRPC
			}
			s.sabotage = func(out []tensor.Tensor) {
				mu.Lock()
				defer mu.Unlock()
				tc.act(out)
			}
			s.run(300 * time.Millisecond)
			if !slices.ContainsFunc(s.failures, func(f string) bool { return strings.Contains(f, tc.says) }) {
				t.Errorf("the soak did not notice; it says %q; %s", s.failures, s.summary())
			}
		})
	}
}
