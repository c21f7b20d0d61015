package engine_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// split is a pair whose larger variant runs on another server.
func split(version, server string) engine.Served {
	s := pair()
	s.Model.Version = version
	s.Model.Variants[1].Remote = &modelpkg.Remote{Server: server, Slots: 4}
	return s
}

// farAway is a runtime with other servers, which can be away: then they load nothing,
// and a run there loses its instance.
type farAway struct {
	runtime.Runtime
	t     *testing.T
	gone  atomic.Bool
	wrong atomic.Bool // they have another model
	loads atomic.Int64
	given atomic.Int64 // items that were run there with what stages here had computed
}

func (f *farAway) Load(ctx context.Context, m *modelpkg.Model, o runtime.Options) (runtime.Instance, error) {
	variants, err := o.Resolve(m)
	if err != nil {
		return nil, err
	}
	servers := m.ServersOf(variants[0])
	for _, v := range variants {
		if !slices.Equal(m.ServersOf(v), servers) {
			f.t.Errorf("variants %v are loaded together", variants)
		}
	}
	far := m.RemotesOf(variants[0])[min(1, len(m.Variants[variants[0]].Steps)/2)] // of a variant with stages, the second is far
	if far != nil {
		f.loads.Add(1)
		switch {
		case f.gone.Load():
			return nil, slo.E("", slo.KindUnavailable, "it does not answer")
		case f.wrong.Load():
			return nil, slo.E("", slo.KindInvalid, "it has another model")
		}
	}
	in, err := f.Runtime.Load(ctx, m, o)
	if err != nil || far == nil {
		return in, err
	}
	return &farInstance{in, f, far.Slots}, nil
}

type farInstance struct {
	runtime.Instance
	far   *farAway
	slots int
}

func (in *farInstance) Slots() int { return in.slots }

func (in *farInstance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	if in.far.gone.Load() {
		return nil, slo.E("", slo.KindUnavailable, "%w: it does not answer", runtime.ErrLost)
	}
	return in.Instance.Run(ctx, variant, items)
}

func (in *farInstance) Keeps(variant int) bool { return runtime.Keeps(in.Instance, variant) }

func (in *farInstance) RunStages(ctx context.Context, part runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	if in.far.gone.Load() {
		return nil, nil, slo.E("", slo.KindUnavailable, "%w: it does not answer", runtime.ErrLost)
	}
	if len(part.Given) > 0 {
		in.far.given.Add(int64(len(part.Items)))
	}
	return in.Instance.(runtime.Staged).RunStages(ctx, part)
}

// startFar is an engine of one instance on a runtime with other servers.
func startFar(t *testing.T, gone bool, served ...engine.Served) (*engine.Engine, *farAway, *steps, error) {
	t.Helper()
	f := &farAway{Runtime: fake.New(fake.Config{Profiles: []*modelpkg.Profile{pair().Profile}}), t: t}
	f.gone.Store(gone)
	s := &steps{}
	e, err := engine.New(t.Context(), engine.Config{Models: served, Policy: plan.PolicyMosel, Instances: 1, Threads: 1,
		QueueItemsMax: 1000, QueueJobsMax: 500, Log: discard, Trace: s.trace}, f)
	return e, f, s, err
}

const (
	nearby = 850_000 // a floor that the variant here reaches
	remote = 950_000 // one that only the other server's reaches
)

// asked sends one item of a floor, and returns how long the answer took.
func asked(t *testing.T, e *engine.Engine, version string, floor slo.Accuracy, deadline time.Duration) (took time.Duration, err error) {
	t.Helper()
	began := time.Now()
	r := request([]runtime.Item{{[]byte{1, 2, 3, 4}, []byte{5}}}, floor)
	if deadline > 0 {
		r.Objective.Deadline = e.Now().Add(deadline)
	}
	got, err := e.Infer(t.Context(), "pair", version, r)
	if err == nil {
		err = checkAnswers(pair(), r, got)
	}
	return time.Since(began), err
}

// TestServerIsAway starts while a server is away, which then comes, goes and comes back.
// What runs here is answered all the while.
func TestServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, f, s, err := startFar(t, true, split("1", "grpc://far"))
		if err != nil {
			t.Fatal(err)
		}
		near := func(when string) {
			t.Helper()
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if took, err := asked(t, e, "1", nearby, time.Second); err != nil || took > 500*time.Millisecond {
						t.Errorf("%s, a request for the variant here: %v after %v", when, err, took)
					}
				})
			}
			all.Wait()
		}
		away := func(when string) {
			t.Helper()
			if took, err := asked(t, e, "1", remote, 0); slo.KindOf(err) != slo.KindUnavailable || took > 100*time.Millisecond {
				t.Errorf("%s, a request that needs the server: %v after %v", when, err, took)
			}
		}
		back := func(when string) {
			t.Helper()
			if took, err := asked(t, e, "1", remote, time.Second); err != nil {
				t.Errorf("%s, a request that needs the server: %v after %v", when, err, took)
			}
		}
		s.see(t, "sched.InstanceUp{Instance:0 Class:0 Slots:1}")
		near("at first")
		away("at first")
		if _, err := asked(t, e, "1", 999_000, 0); slo.KindOf(err) != slo.KindInfeasible {
			t.Errorf("a floor that nothing reaches: %v", err)
		}
		f.gone.Store(false)
		time.Sleep(40 * time.Second)
		s.see(t, "sched.InstanceUp{Instance:1 Class:1 Slots:4}")
		back("when it has come")
		near("when it has come")
		f.gone.Store(true)
		if _, err := asked(t, e, "1", remote, 0); slo.KindOf(err) != slo.KindUnavailable {
			t.Errorf("the request that finds it gone: %v", err)
		}
		s.seeLoss(t, "sched.InstanceDown{Instance:1 By:BY}")
		near("when it has gone")
		away("when it has gone")
		f.gone.Store(false)
		time.Sleep(40 * time.Second)
		s.see(t, "sched.InstanceUp{Instance:1 Class:1 Slots:4}")
		back("when it is back")
		drain(t, e)
	})
}

// TestMixedJobsWhileAServerIsAway has jobs whose items may differ: one that can do
// without the server is served.
func TestMixedJobsWhileAServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _, _, err := startFar(t, true, split("1", "grpc://far"))
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			request engine.Request
			fails   slo.Kind
		}{
			"no choice":             {engine.Request{}, 0},
			"a choice that is here": {engine.Request{Choice: 1}, 0},
			"a choice that is far":  {engine.Request{Choice: 3}, slo.KindUnavailable},
			"one item that is far":  {engine.Request{Mixed: []slo.Carried{{Items: 1, Present: 3, Choice: 3}, {Items: 1, Present: 3}}}, slo.KindUnavailable},
			"both here":             {engine.Request{Mixed: []slo.Carried{{Items: 1, Present: 1}, {Items: 1, Present: 3}}}, 0},
		} {
			r := c.request
			r.Modalities, r.Items, r.Objective = 3, []runtime.Item{{[]byte{1, 2, 3, 4}, []byte{5}}, {[]byte{1, 2, 3, 4}, []byte{6}}}, slo.Objective{Deadline: slo.Never}
			if _, err := e.Infer(t.Context(), "pair", "", r); slo.KindOf(err) != c.fails && (err != nil || c.fails != 0) {
				t.Errorf("%s: %v", name, err)
			}
		}
		drain(t, e)
	})
}

// TestGateToAServerThatIsAway has a route whose second step runs on a server: while that
// is away, the route is not taken.
func TestGateToAServerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, f, _, err := startFar(t, true, withGate(split("1", "grpc://far")))
		if err != nil {
			t.Fatal(err)
		}
		ask := func(floor slo.Accuracy) error {
			_, err := e.Infer(t.Context(), "pair", "1", request([]runtime.Item{{[]byte{1, 2, 3, 4}, []byte{5}}}, floor))
			return err
		}
		if err := ask(nearby); err != nil {
			t.Errorf("a floor that the first step reaches: %v", err)
		}
		if err := ask(remote); slo.KindOf(err) != slo.KindUnavailable {
			t.Errorf("a floor that only the route and the server reach: %v", err)
		}
		f.gone.Store(false)
		time.Sleep(40 * time.Second)
		if err := ask(remote); err != nil {
			t.Errorf("when the server has come: %v", err)
		}
		r := request(slices.Repeat([]runtime.Item{{[]byte{1, 2, 3, 4}, []byte{5}}, {[]byte{4, 3, 2, 1}, []byte{6}}}, 200), remote)
		r.Objective.Deadline = e.Now().Add(5 * time.Second)
		if got, err := e.Infer(t.Context(), "pair", "1", r); err != nil || f.given.Load() == 0 {
			t.Errorf("%d items went on to the server with what the stage here had computed: %+v, %v", f.given.Load(), got.Variants, err)
		}
		drain(t, e)
	})
}

// TestOnlyServerIsAway has a model with one server only: its requests wait for it as long
// as they may. It cannot be deployed while the server is away.
func TestOnlyServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		only := split("1", "grpc://far")
		only.Model.Variants[0].Remote = only.Model.Variants[1].Remote
		if _, _, _, err := startFar(t, true, only); slo.KindOf(err) != slo.KindUnavailable {
			t.Fatalf("started with %v", err)
		}
		e, f, _, err := startFar(t, false, only)
		if err != nil {
			t.Fatal(err)
		}
		f.gone.Store(true)
		time.AfterFunc(10*time.Second, func() { f.gone.Store(false) })
		if took, err := asked(t, e, "1", nearby, 0); err != nil || took < 10*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		drain(t, e)
	})
}

// TestServersOfModels deploys and removes models with servers. A worker of a server
// serves one model after the other, and no model runs where another one has a server.
func TestServersOfModels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, f, s, err := startFar(t, false, split("1", "grpc://far"), version("2"))
		if err != nil {
			t.Fatal(err)
		}
		serves := func(version string, floor slo.Accuracy) {
			t.Helper()
			if _, err := asked(t, e, version, floor, 0); err != nil {
				t.Errorf("version %s: %v", version, err)
			}
		}
		up := func(n int) string {
			return fmt.Sprintf("sched.InstanceUp{Instance:%d Class:%d Slots:%d}", n, n, map[bool]int{true: 1, false: 4}[n == 0])
		}
		s.see(t, up(0), up(1))
		two := split("3", "grpc://far")
		two.Model.Variants[0].Remote = &modelpkg.Remote{Server: "http://other", Slots: 4}
		if err := e.Deploy(t.Context(), two); err != nil {
			t.Fatal(err)
		}
		s.see(t, up(2), up(3))
		for _, v := range []string{"1", "2", "3"} {
			serves(v, nearby)
			serves(v, remote)
		}
		if err := e.Deploy(t.Context(), split("1", "grpc://elsewhere")); err != nil { // in place of the other
			t.Fatal(err)
		}
		s.see(t, up(4), "sched.InstanceResize{Instance:1 Slots:0}")
		serves("1", remote)
		if err := e.Remove("pair", "3"); err != nil {
			t.Fatal(err)
		}
		s.see(t, "sched.InstanceResize{Instance:2 Slots:0}", "sched.InstanceResize{Instance:3 Slots:0}")
		if err := e.Deploy(t.Context(), split("4", "grpc://far")); err != nil {
			t.Fatal(err)
		}
		s.see(t, "sched.InstanceResize{Instance:1 Slots:4}")
		serves("4", remote)
		f.wrong.Store(true)
		if err := e.Deploy(t.Context(), split("5", "grpc://far")); slo.KindOf(err) != slo.KindInvalid {
			t.Errorf("a server with another model: %v", err)
		}
		s.see(t)
		drain(t, e)
	})
}

// TestServerThatIsAwayIsLeftAlone removes a model while its server is away: nobody tries
// any more to reach it, and its worker serves another model.
func TestServerThatIsAwayIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, f, s, err := startFar(t, true, split("1", "grpc://far"), version("2"))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Remove("pair", "1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		loads := f.loads.Load()
		time.Sleep(10 * time.Minute)
		if n := f.loads.Load(); n != loads {
			t.Errorf("%d attempts to reach the server of a model that is not served", n-loads)
		}
		f.gone.Store(false)
		s.clear()
		if err := e.Deploy(t.Context(), split("3", "grpc://far")); err != nil {
			t.Fatal(err)
		}
		s.see(t, "sched.InstanceUp{Instance:1 Class:1 Slots:4}")
		drain(t, e)
	})
}

// TestTooManyServers deploys models with more servers than there are classes.
func TestTooManyServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _, _, err := startFar(t, false, pair())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 63 {
			if err := e.Deploy(t.Context(), split(fmt.Sprint(2+i), fmt.Sprintf("grpc://far%d", i))); err != nil {
				t.Fatal(i, err)
			}
		}
		if err := e.Deploy(t.Context(), split("1000", "grpc://far")); slo.KindOf(err) != slo.KindUnsupported {
			t.Errorf("the 64th server: %v", err)
		}
		if slices.Contains(versions(e), "pair 1000") {
			t.Error("it is served")
		}
		if err := e.Remove("pair", "2"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := e.Deploy(t.Context(), split("1000", "grpc://far")); err != nil {
			t.Errorf("after one has left: %v", err)
		}
		drain(t, e)
	})
}

// TestWorkerOfAnotherServerThatIsAway deploys a model whose server is away after another
// model whose worker it takes over: requests that need the server are refused.
func TestWorkerOfAnotherServerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, f, _, err := startFar(t, false, split("1", "grpc://far"), version("2"))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Remove("pair", "1"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f.gone.Store(true)
		if err := e.Deploy(t.Context(), split("3", "grpc://other")); err != nil {
			t.Fatal(err)
		}
		if took, err := asked(t, e, "3", remote, time.Minute); slo.KindOf(err) != slo.KindUnavailable || took > time.Second {
			t.Errorf("a request that needs the server: %v after %v", err, took)
		}
		if _, err := asked(t, e, "3", nearby, time.Second); err != nil {
			t.Errorf("a request for the variant here: %v", err)
		}
		f.gone.Store(false)
		time.Sleep(40 * time.Second)
		if _, err := asked(t, e, "3", remote, time.Second); err != nil {
			t.Errorf("when the server has come: %v", err)
		}
		drain(t, e)
	})
}
