// Package remote runs variants, and stages of variants, on other servers of the Open
// Inference Protocol, over gRPC or REST: Triton, KServe, MLServer, another mosel. A batch
// is one request. What
// the other server does with it is its own business; what comes back is held against
// the package, and bounded.
//
// What happens when the other server does not do its part:
//
//   - It sheds a request (429, or 503 with a time to come back): the request certainly
//     has not run and is sent again, a few times, after the time that the server
//     names. After any other failure it may have run and is not sent again.
//   - It does not answer in time, or the connection breaks: it is asked whether it is
//     ready. If it is, the batch has failed; if not, the instance is lost, and the
//     engine loads it anew as soon as the server is ready again.
//   - It answers with what does not fit the package, or with more bytes than the
//     package's outputs can have: the batch has failed.
package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Runtime loads models of which variants run on other servers.
type Runtime struct{}

var _ runtime.Runtime = Runtime{}

// New makes a runtime. It has no connections of its own: its instances have.
func New() Runtime { return Runtime{} }

// Name is "remote".
func (Runtime) Name() string { return "remote" }

// Version is that of the protocol.
func (Runtime) Version() string { return "v2" }

// Close does nothing: there is nothing to release.
func (Runtime) Close() error { return nil }

// Load connects to the servers of the variants, asks whether they are ready, and
// compares what they say of their models with the package. Threads are the other
// server's business. Errors have kind invalid (the models do not fit, or the package
// names a token that is not there), not found, unavailable (the server cannot be
// reached, or is not ready), cancelled or deadline exceeded.
func (Runtime) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	op := "load " + m.Name
	variants, err := opts.Resolve(m)
	if err != nil {
		return nil, err
	}
	in := &instance{model: m, routes: make([][]*route, len(m.Variants)), slots: slotsMax}
	for _, v := range variants {
		if err := in.load(ctx, op, v); err != nil {
			return nil, errors.Join(err, in.Close())
		}
	}
	return in, nil
}

// slotsMax is far above what a package may declare.
const slotsMax = 1 << 16

// instance runs variants of one model on other servers. All of it but the two atomics
// is fixed once it is loaded.
type instance struct {
	model   *modelpkg.Model
	servers []*server
	routes  [][]*route // by variant and step, nil: not loaded, or not on another server
	slots   int
	lost    atomic.Pointer[slo.Error]
	closed  atomic.Bool
}

func (in *instance) load(ctx context.Context, op string, variant int) error {
	switch {
	case variant < 0 || variant >= len(in.model.Variants):
		return slo.E(op, slo.KindInvalid, "there is no variant %d; the model has %d", variant, len(in.model.Variants))
	case len(in.model.ServersOf(variant)) == 0:
		return slo.E(op, slo.KindInvalid, "variant %s does not run on another server", in.model.Variants[variant].Name)
	case in.routes[variant] != nil:
		return nil
	case ctx.Err() != nil:
		return ended(op, ctx.Err())
	}
	remotes := in.model.RemotesOf(variant)
	routes := make([]*route, len(remotes))
	for step, where := range remotes {
		if where == nil {
			continue
		}
		s, err := in.server(where)
		if err != nil {
			return slo.E(op, slo.KindInvalid, "%s: %w", in.name(variant, step), err)
		}
		if routes[step], err = s.route(ctx, in.model, variant, step); err != nil {
			return fmt.Errorf("%s: %s: %w", op, in.name(variant, step), err)
		}
		in.slots = min(in.slots, where.Slots)
	}
	in.routes[variant] = routes
	return nil
}

// name names a step of a variant, or all of it, for messages.
func (in *instance) name(variant, step int) string {
	v := in.model.Variants[variant]
	if v.Steps == nil {
		return "variant " + v.Name
	}
	return "variant " + v.Name + ", stage " + in.model.Stages[v.Steps[step].Stage].Name
}

// server is the way to a server, which variants share.
func (in *instance) server(where *modelpkg.Remote) (*server, error) {
	at := slices.IndexFunc(in.servers, func(s *server) bool {
		return s.where.Server == where.Server && s.where.TokenEnv == where.TokenEnv && s.where.CA == where.CA
	})
	if at >= 0 {
		return in.servers[at], nil
	}
	s, err := dial(in.model, where)
	if err == nil {
		in.servers = append(in.servers, s)
	}
	return s, err
}

// Slots is the least that a variant allows: requests do not wait for each other.
func (in *instance) Slots() int { return in.slots }

// Run sends one request for each step and waits for its answer, at most as long as the
// package says.
func (in *instance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	if err := in.usable(); err != nil {
		return nil, err
	}
	if err := runtime.CheckBatch(in.model, variant, items); err != nil {
		return nil, err
	}
	outputs, _, err := in.runSteps(ctx, &runtime.Part{Variant: variant, Items: items}, nil)
	return outputs, err
}

func (in *instance) usable() error {
	switch lost := in.lost.Load(); {
	case in.closed.Load():
		return slo.E("run "+in.model.Name, slo.KindUnavailable, "the instance is closed")
	case lost != nil:
		return lost
	}
	return nil
}

// Close closes the connections.
func (in *instance) Close() error {
	if !in.closed.Swap(true) {
		for _, s := range in.servers {
			s.client.Close()
		}
	}
	return nil
}
