package engine

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Served is a model and the profile it is planned with.
type Served struct {
	Model   *modelpkg.Model
	Profile *modelpkg.Profile
	Routes  []Route // of several steps, beside the variants
}

// deployment is a served model. Requests hold it while they are in progress. After its
// removal it is freed when the last of them has released it.
type deployment struct {
	Served
	number    int                          // in the core
	told      *feed.Model                  // as published in the feed
	planner   *plan.Planner                // by the profile's accuracies
	current   atomic.Pointer[plan.Planner] // the same, or with those that evidence supports
	live      *accuracies
	leaving   context.Context // ends when the deployment is retired
	leave     context.CancelFunc
	routing   *routing
	trials    []trial                       // what warming up runs, the best first
	samples   []modelpkg.Fitted             // a few, all of the same lengths, until it is warm
	sized     []string                      // by variant: the output whose size was seen to depend on values, "" if none was
	scale     []float64                     // by variant: how much slower than profiled, as warming up saw it
	away      plan.Set                      // the routes that need a server that is away; the loop's
	sites     []*site                       // where its variants run
	instances []*instance                   // by worker, see on; the loop's while it is served
	mending   map[sched.InstanceID]*mending // by worker, those that are loaded anew; the loop's
	users     atomic.Int64                  // requests; less retired when no more may come
	unused    chan struct{}                 // closed when it is retired and has no users
}

// retired is subtracted from the users of a deployment that accepts no more.
const retired = 1 << 40

// hold adds a user. It returns false if the deployment accepts no more.
func (d *deployment) hold() bool {
	for {
		n := d.users.Load()
		if n < 0 {
			return false
		}
		if d.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (d *deployment) release() {
	if d.users.Add(-1) == -retired {
		close(d.unused)
	}
}

// retire stops accepting users.
func (d *deployment) retire() {
	d.leave()
	if d.users.Add(-retired) == -retired {
		close(d.unused)
	}
}

// Lease is a request's hold on a model. While it is held, the model stays loaded,
// whatever is deployed or removed. Release must be called exactly once.
type Lease struct {
	Served
	engine     *Engine
	deployment *deployment
}

// Release ends the hold on the model.
func (l Lease) Release() { l.deployment.release() }

// catalogue lists the served deployments. It is replaced, never changed.
type catalogue struct {
	list   []*deployment            // by name, the highest version first
	byName map[string][]*deployment // the highest version first
}

func newCatalogue(list []*deployment) *catalogue {
	slices.SortFunc(list, func(a, b *deployment) int {
		return cmp.Or(strings.Compare(a.Model.Name, b.Model.Name), compareVersions(b.Model.Version, a.Model.Version))
	})
	c := &catalogue{list: list, byName: map[string][]*deployment{}}
	for _, d := range list {
		c.byName[d.Model.Name] = append(c.byName[d.Model.Name], d)
	}
	return c
}

// compareVersions orders versions in the natural way: runs of digits by their value, so
// that 10 comes after 9 and 1.10 after 1.9.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		digitsA, digitsB := digits(a), digits(b)
		if digitsA > 0 && digitsB > 0 {
			numberA, numberB := strings.TrimLeft(a[:digitsA], "0"), strings.TrimLeft(b[:digitsB], "0")
			if order := cmp.Or(cmp.Compare(len(numberA), len(numberB)), strings.Compare(numberA, numberB)); order != 0 {
				return order
			}
			a, b = a[digitsA:], b[digitsB:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return len(s)
}

// find returns the deployment with a name and, unless empty, a version.
func (c *catalogue) find(name, version string) (*deployment, error) {
	list := c.byName[name]
	if len(list) == 0 {
		return nil, slo.E("", slo.KindNotFound, "no model %q is served here", name)
	}
	if version == "" {
		return list[0], nil
	}
	versions := make([]string, 0, len(list))
	for _, d := range list {
		if d.Model.Version == version {
			return d, nil
		}
		versions = append(versions, strconv.Quote(d.Model.Version))
	}
	return nil, slo.E("", slo.KindNotFound, "model %q has no version %q, it is served as version %s", name, version, strings.Join(versions, ", "))
}

// Use finds a model by name and version and holds it for the caller, who must release
// it. Version "" is the highest one served. The error has kind not found.
func (e *Engine) Use(name, version string) (Lease, error) {
	for {
		d, err := e.catalogue.Load().find(name, version)
		if err != nil {
			return Lease{}, err
		}
		if d.hold() {
			return Lease{Served: d.Served, engine: e, deployment: d}, nil
		}
		// It was just replaced: look in the new catalogue.
	}
}

// List returns every served model, by name, the highest version first.
func (e *Engine) List() []Served {
	list := e.catalogue.Load().list
	served := make([]Served, len(list))
	for i, d := range list {
		served[i] = d.Served
	}
	return served
}

// Deploy loads a model on every instance, runs each variant to warm up and to measure
// this machine's speed, and serves it. It replaces the same version of the same model;
// requests in progress finish on the replaced one. If it fails, nothing changes. It
// takes seconds. Errors are those of the runtime's Load and of the first runs;
// cancelled if ctx ends first, even if the runtime hangs; unavailable once the engine
// drains.
func (e *Engine) Deploy(ctx context.Context, s Served) error {
	e.deploying.Lock()
	defer e.deploying.Unlock()
	ended := slo.E("deploy "+s.Model.Name, slo.KindUnavailable, "the server has shut down")
	if e.closed || e.life.Err() != nil { // the runtime may be closed too
		return ended
	}
	d, err := e.prepare(ctx, s)
	if err != nil {
		if e.life.Err() != nil {
			return ended
		}
		return err
	}
	if !e.ask(func(l *loop) { err = l.serve(d) }) {
		err = ended
	}
	if err != nil {
		e.closeAll(d.all())
		return err
	}
	list := slices.Clone(e.catalogue.Load().list)
	at := slices.IndexFunc(list, func(o *deployment) bool { return o.Model.Name == s.Model.Name && o.Model.Version == s.Model.Version })
	if at < 0 {
		e.catalogue.Store(newCatalogue(append(list, d)))
		return nil
	}
	old := list[at]
	list[at] = d
	e.catalogue.Store(newCatalogue(list))
	e.dispose(old)
	return nil
}

// Remove stops serving a version of a model: new requests do not find it, those in
// progress finish, and then its memory is freed. The error has kind not found.
func (e *Engine) Remove(name, version string) error {
	e.deploying.Lock()
	defer e.deploying.Unlock()
	if e.closed {
		return slo.E("remove "+name, slo.KindUnavailable, "the server has shut down")
	}
	old, err := e.catalogue.Load().find(name, version)
	if err != nil {
		return err
	}
	list := slices.DeleteFunc(slices.Clone(e.catalogue.Load().list), func(d *deployment) bool { return d == old })
	e.catalogue.Store(newCatalogue(list))
	e.dispose(old)
	return nil
}

// dispose frees a deployment that has left the catalogue when its last request has
// ended.
func (e *Engine) dispose(d *deployment) {
	d.retire()
	e.background.Go(func() {
		select {
		case <-d.unused:
		case <-e.stopped:
			return // loaded instances are freed with the engine
		}
		if e.ask(func(l *loop) { l.retire(d) }) {
			e.closeAll(d.all())
		}
	})
}

// load loads and measures a model. A panic in the runtime's binding fails the model,
// not the server.
func (e *Engine) load(ctx context.Context, s Served, warming *limit) (d *deployment, err error) {
	if _, err := newRouting(s, func(int) bool { return false }); err != nil {
		return nil, err // before anything is loaded
	}
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("the runtime panicked", "model", s.Model.Name, "panic", p, "stack", string(debug.Stack()))
			d, err = nil, slo.E("deploy "+s.Model.Name, slo.KindInternal, "the runtime panicked: %v", p)
		}
	}()
	d = &deployment{Served: s, sites: sitesOf(s.Model), unused: make(chan struct{}), live: newAccuracies(s.Model, s.Profile, s.Routes != nil)}
	d.leaving, d.leave = context.WithCancel(context.Background())
	began := time.Now()
	if err := e.loadSites(ctx, d); err != nil {
		e.closeAll(d.all())
		if detail := runtime.Detail(err); detail != "" {
			e.log.Error("the runtime could not load a model", "model", s.Model.Name, "error", err, "detail", detail)
		}
		return nil, err
	}
	loaded := time.Now()
	d.routing, err = newRouting(s, d.keeps)
	if err == nil {
		d.planner = d.routing.planner
		d.current.Store(d.planner)
		d.live.seeFrontier(d.planner)
		err = e.warmUp(ctx, d, warming)
	}
	if err != nil {
		e.closeAll(d.all())
		return nil, err
	}
	for _, v := range d.routing.variants[len(d.scale):] {
		d.scale = append(d.scale, d.scale[v.variant])
	}
	d.told = d.info()
	e.log.Info("a model is loaded and warm", "model", s.Model.Name, "version", s.Model.Version,
		"loading", loaded.Sub(began).Round(time.Millisecond), "warming", time.Since(loaded).Round(time.Millisecond))
	return d, nil
}

// spec returns the model's description for the core.
func (d *deployment) spec(workers []*worker) sched.Model {
	return sched.Model{Name: d.Model.Name, Planner: d.planner, BatchItemsMax: d.Model.Limits.BatchItemsMax, Scale: d.scale, Classes: d.residences(workers)}
}

// info returns the model's description for subscribers of the feed.
func (d *deployment) info() *feed.Model {
	return &feed.Model{Name: d.Model.Name, Version: d.Model.Version, Digest: d.Model.Digest, Modalities: d.Model.ModalityNames(),
		Planner: d.planner, Scale: d.scale}
}

// warmUp runs every variant on every instance. It sets the scale to how much slower than
// profiled each variant is on this machine now, as the first of the instances shows; the
// others run the same graphs on the same processor.
func (e *Engine) warmUp(ctx context.Context, d *deployment, warming *limit) error {
	d.trials = e.trials(d)
	d.scale, d.sized = make([]float64, len(d.Model.Variants)), make([]string, len(d.Model.Variants))
	defer func() { d.samples = nil }()
	for v := range d.Model.Variants {
		if err := e.warmUpVariant(ctx, d, v, warming); err != nil {
			return err
		}
		if output := d.valueSized(v); output != "" {
			e.log.Warn("an output's size depends on values: items run one at a time; if it does not, declare its size",
				"model", d.Model.Name, "variant", d.Model.Variants[v].Name, "output", output)
		}
	}
	if err := e.warmUpOthers(ctx, d, warming); err != nil {
		return err
	}
	known := slices.DeleteFunc(slices.Clone(d.scale), func(s float64) bool { return s == 0 })
	if mean := geometricMean(known); mean > scaleNoted || mean < 1/scaleNoted {
		e.log.Warn("this machine is faster or slower than the profile's, so latencies are scaled; a profile of this machine is more exact: mosel profile "+d.Model.Dir,
			"model", d.Model.Name, "profile", d.Profile.Device, "scale", math.Round(mean*100)/100)
	}
	return nil
}

// warmUpVariant measures a variant on the first instance that has it. The scale stays 0,
// which is not known, if its server is away.
func (e *Engine) warmUpVariant(ctx context.Context, d *deployment, v int, warming *limit) (err error) {
	s := d.siteOf(v)
	running := d.running(s)
	if len(running) == 0 {
		return nil
	}
	first := warming.of(running[0])
	d.sized[v] = d.differsBySample(ctx, first, v)
	d.scale[v], err = d.measure(ctx, first, v)
	if err != nil && ctx.Err() == nil && d.spare(e, s, err) {
		d.scale[v] = 0
		return nil
	}
	if err != nil {
		return fmt.Errorf("warming up %s, variant %s: %w", d.Model.Name, d.Model.Variants[v].Name, err)
	}
	return nil
}

// Infer runs a job on the leased model and returns the results in the order of the
// items. After it returns, nothing reads the request's items, unless Response.Held says
// that a running batch may. If ctx is cancelled, the job leaves the queue, and a batch
// that runs only for this job is aborted.
//
// Errors are *slo.Error: invalid (no variant runs on the modalities present),
// infeasible (with Best), overloaded (with RetryAfter and Best), deadline
// exceeded, cancelled, unavailable (draining), internal.
func (l Lease) Infer(ctx context.Context, r Request) (Response, error) {
	if len(r.Items) == 0 {
		return Response{}, slo.E("", slo.KindInvalid, "a request without items")
	}
	e := l.engine
	c := &call{Request: r, served: l.deployment, ids: e.ids, arrived: e.Now(), done: make(chan struct{})}
	if err := c.fit(ctx, e.decoder); err != nil {
		return Response{}, err
	}
	answer, err := e.wait(ctx, c)
	switch {
	case err == nil:
		e.shadow(c, r, &answer)
	case c.finish.Reason == slo.ReasonDrift:
		e.shadow(c, r, nil)
	}
	return answer, err
}

// wait submits a call and waits for its result.
func (e *Engine) wait(ctx context.Context, c *call) (Response, error) {
	if !e.post(func(l *loop) { l.submit(c) }) {
		return Response{}, slo.E("", slo.KindUnavailable, "the server has shut down")
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		e.post(func(l *loop) { l.cancel(c) })
		<-c.done
	}
	return c.result()
}

// closeAll frees instances, each as soon as nothing runs on it; nil stands for none.
func (e *Engine) closeAll(instances []*instance) {
	for _, i := range instances {
		if i == nil {
			continue
		}
		if err := i.Close(); err != nil {
			e.log.Warn("closing an instance", "error", err)
		}
	}
}
