package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
)

// busy is a mosel server with one instance, whose runs wait for a signal, and room for
// one waiting request. With it the suite tests what it cannot cause on any server:
// starting, overload, stopping.
type busy struct {
	*target
	server *ownServer
	model  *model
	gate   *gate
}

// gate blocks the loads and the runs of a runtime.
type gate struct {
	runtime.Runtime
	load    func()        // lets models load
	loading chan struct{} // closed by load
	held    atomic.Bool   // runs wait
	running chan struct{} // a run has reached the gate
	open    func()        // lets runs end
	free    chan struct{} // closed by open
}

func newGate(profile *modelpkg.Profile) *gate {
	g := &gate{loading: make(chan struct{}), running: make(chan struct{}, 1), free: make(chan struct{})}
	g.load = sync.OnceFunc(func() { close(g.loading) })
	g.open = sync.OnceFunc(func() { close(g.free) })
	g.Runtime = fake.New(fake.Config{Profiles: []*modelpkg.Profile{profile}, Fail: g.hold})
	return g
}

// Load waits at the gate, then loads.
func (g *gate) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	<-g.loading
	return g.Runtime.Load(ctx, m, opts)
}

// hold blocks a run.
func (g *gate) hold(fake.Run) error {
	if g.held.Load() {
		select {
		case g.running <- struct{}{}:
		default: // signalled before
		}
		<-g.free
	}
	return nil
}

// slow is the model of a busy server; its runs take the profiled time.
var slow = modelSpec{name: "slow", modalities: []modalitySpec{{"x", []tensorSpec{{"x", "INT16", []int64{2}}}}}, itemMS: 8,
	outputs: []tensorSpec{{"y", "FP32", []int64{2}}}, variants: []variantSpec{{"all", "x", 0.9}}}

// starting returns a busy server whose model has not been loaded yet.
func starting(t *testing.T) *busy {
	t.Helper()
	if *flagAddr != "" {
		t.Skip("-addr names a server, which others may use: our own is brought to its limits, no other")
	}
	dir := t.TempDir()
	if err := slow.write(dir); err != nil {
		t.Fatal(err)
	}
	m, err := modelpkg.Load(filepath.Join(dir, slow.name))
	if err != nil {
		t.Fatal(err)
	}
	profile, err := modelpkg.FindProfile(m, "")
	if err != nil {
		t.Fatal(err)
	}
	b := &busy{gate: newGate(profile)}
	cfg := ownConfig(dir)
	cfg.Runtime, cfg.Instances, cfg.QueueJobsMax = b.gate, 1, 2 // one runs, one waits
	if b.server, err = start(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.gate.load()
		b.gate.open()
		b.server.stop()
	})
	if b.target, err = reach(b.server.address); err != nil {
		t.Fatal(err)
	}
	b.strict = true
	t.Cleanup(b.close)
	return b
}

// warm lets the model load and waits until the server is ready.
func (b *busy) warm(t *testing.T) {
	t.Helper()
	b.gate.load()
	if err := b.server.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	known, err := connect(t.Context(), b.server.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(known.close)
	b.target, b.model = known, known.models[0]
}

// running returns a busy server whose instance is blocked in a run, and the request of
// that run.
func running(t *testing.T) (*busy, *pending[sent]) {
	t.Helper()
	b := starting(t)
	b.warm(t)
	b.gate.held.Store(true)
	first := b.later(t.Context(), b.model.ask(1))
	<-b.gate.running
	return b, first
}

// pending is work in another goroutine.
type pending[T any] struct {
	done chan struct{}
	got  T // valid when done is closed
}

// later runs do in another goroutine.
func later[T any](do func() T) *pending[T] {
	p := &pending[T]{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.got = do()
	}()
	return p
}

// wait waits for the result.
func (p *pending[T]) wait() T {
	<-p.done
	return p.got
}

// sent is the result of a request over REST.
type sent struct {
	answer
	err error
}

// must returns the answer; without one, the test fails.
func (s sent) must(t *testing.T) answer {
	t.Helper()
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.answer
}

// later sends an inference request in another goroutine.
func (b *busy) later(ctx context.Context, a ask, headers ...string) *pending[sent] {
	return later(func() sent {
		got, err := b.do(ctx, resource{http.MethodPost, b.model.path("/infer")}, a.body(), headers...)
		return sent{got, err}
	})
}

// probeTime is how long a probe for room waits at most.
const probeTime = 50 * time.Millisecond

// full reports whether there is no room for another request.
func (b *busy) full(t *testing.T) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), probeTime)
	defer cancel()
	probe := b.later(ctx, b.model.ask(1)).wait()
	return probe.err == nil && probe.status == http.StatusTooManyRequests
}

// occupy sends a request that takes the only place for waiting. The place is taken for
// sure when two probes in a row find no room: one alone may have met the previous
// probe.
func occupy[T any](t *testing.T, send func() *pending[T], full func() bool) *pending[T] {
	t.Helper()
	limit, cancel := context.WithTimeout(t.Context(), settleTimeout)
	defer cancel()
	waiting := send()
	for times := 0; limit.Err() == nil; {
		if full() {
			times++
		} else {
			times = 0
		}
		select {
		case <-waiting.done: // a probe had the place
			waiting, times = send(), 0
		default:
			if times == 2 {
				return waiting
			}
		}
	}
	t.Fatal("no request gets the place for waiting")
	return nil
}

// vacant waits until there is room again.
func vacant(t *testing.T, full func() bool) {
	t.Helper()
	limit, cancel := context.WithTimeout(t.Context(), settleTimeout)
	defer cancel()
	for full() {
		if limit.Err() != nil {
			t.Fatal("no request waits, but there is no room")
		}
	}
}

func TestStartingServerIsLiveAndNotReady(t *testing.T) {
	b := starting(t)
	var live struct{ Live bool }
	if b.get(t, "/v2/health/live").into(t, &live); !live.Live {
		t.Error("it is not live")
	}
	notReady := func(path string) {
		t.Helper()
		var body struct{ Ready *bool }
		if a := b.get(t, path); a.status != http.StatusServiceUnavailable || json.Unmarshal(a.body, &body) != nil || body.Ready == nil || *body.Ready {
			t.Errorf(`%v, want status 503 and {"ready":false}`, a)
		}
	}
	notReady("/v2/health/ready")
	for _, r := range []resource{{"GET", "/v2/models/slow"}, {"GET", "/v2/models/slow/ready"}, {"POST", "/v2/models/slow/infer"}, {"POST", "/v2/repository/index"}} {
		a := b.send(t, r.method, r.path, "")
		a.refused(t, http.StatusServiceUnavailable)
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%v has no Retry-After: this is the one error after which clients try again by themselves", a)
		}
	}
	b.warm(t)
	b.ready(t)
	b.model.result(t, b.model.infer(t, b.model.ask(1)))
}

func TestStoppingServerFinishesWhatItHasTaken(t *testing.T) {
	b, first := running(t)
	stopped := make(chan error, 1)
	go func() { stopped <- b.server.Shutdown(context.WithoutCancel(t.Context())) }()
	ctx, cancel := context.WithTimeout(t.Context(), settleTimeout)
	defer cancel()
	a := b.get(t, "/v2/health/ready")
	for a.status == http.StatusOK && ctx.Err() == nil { // until the server has noticed
		a = b.get(t, "/v2/health/ready")
	}
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("%v, want status 503", a)
	}
	refused := b.model.infer(t, b.model.ask(1))
	refused.refused(t, http.StatusServiceUnavailable)
	if refused.header.Get("Retry-After") == "" {
		t.Errorf("%v has no Retry-After", refused)
	}
	b.get(t, "/v2/health/live").ok(t)
	b.gate.open()
	b.model.result(t, first.wait().must(t))
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestOverloadIsToldAtOnce fills the server: one request runs, one waits, and the
// others must be refused at once, while nothing moves.
func TestOverloadIsToldAtOnce(t *testing.T) {
	b, first := running(t)
	const rest = 4
	answers := make(chan sent, rest+1)
	for range rest + 1 {
		go func() { answers <- b.later(t.Context(), b.model.ask(1)).wait() }()
	}
	for range rest {
		a := (<-answers).must(t)
		if a.status != http.StatusTooManyRequests {
			t.Errorf("%v, want status 429: there is no room", a)
		}
		tooLate(t, a)
	}
	b.ready(t) // an overloaded server is still available
	b.gate.open()
	b.model.result(t, (<-answers).must(t))
	b.model.result(t, first.wait().must(t))
}

// TestOverloadEndsWhenAClientGoesAway cancels the waiting request: its place must
// become free while nothing else moves.
func TestOverloadEndsWhenAClientGoesAway(t *testing.T) {
	b, first := running(t)
	ctx, goAway := context.WithCancel(t.Context())
	defer goAway()
	full := func() bool { return b.full(t) }
	waiting := occupy(t, func() *pending[sent] { return b.later(ctx, b.model.ask(1)) }, full)
	goAway()
	if got := waiting.wait(); !errors.Is(got.err, context.Canceled) {
		t.Errorf("the request that was given up: %v, %v", got.answer, got.err)
	}
	vacant(t, full)
	b.gate.open()
	b.model.result(t, first.wait().must(t))
}

func TestDeadlinePassesWhileARequestWaits(t *testing.T) {
	b, first := running(t)
	tooLate(t, b.later(t.Context(), b.model.ask(1).param(`"deadline_ms":200`)).wait().must(t)) // while nothing moves
	b.gate.open()
	b.model.result(t, first.wait().must(t))
}

func TestDeadlinePassesWhileARequestRuns(t *testing.T) {
	b := starting(t)
	b.warm(t)
	b.gate.held.Store(true)
	const deadline = 500 * time.Millisecond
	p := b.later(t.Context(), b.model.ask(1).param(fmt.Sprintf(`"deadline_ms":%d`, deadline.Milliseconds())))
	select {
	case <-b.gate.running:
	case <-p.done:
		t.Fatalf("%v, before it ran", p.got.must(t))
	}
	select {
	case <-p.done:
	case <-time.After(deadline): // it continues to run, and is late
		b.gate.open()
	}
	p.wait().must(t).refused(t, http.StatusGatewayTimeout)
}

func TestDeadlineBelowTheTimeOfARunIsShed(t *testing.T) {
	b := starting(t)
	b.warm(t)
	a := b.model.infer(t, b.model.ask(1).param(`"deadline_ms":3`))
	if a.status != http.StatusTooManyRequests {
		t.Errorf("%v, want status 429: a run takes %v ms", a, slow.itemMS)
	}
	tooLate(t, a)
	if f := b.model.facts(t, b.model.result(t, b.model.infer(t, b.model.ask(1).param(`"deadline_ms":3`, `"late":"run"`)))); !f.late {
		t.Error("the answer does not say that it is late")
	}
	if f := b.model.facts(t, b.model.result(t, b.model.infer(t, b.model.ask(1).param(`"deadline_ms":10000`)))); f.late {
		t.Error("the answer says that it is late")
	}
}
