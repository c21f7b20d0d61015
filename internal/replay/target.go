package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Target is a model on a server, with labelled samples to send. Its method Send is a
// Send.
type Target struct {
	Confidence slo.Confidence // of the jobs' floors; 0: the server's default
	Shifted    *Shifted       // changes what is sent; nil: nothing is changed

	client   *client.Client
	set      *Samples
	labeller *Labeller // nil: no labels are brought back
}

// Samples are labelled samples of a model.
type Samples struct {
	Model *modelpkg.Model
	Set   *modelpkg.Set

	one []tensor.Tensor // the inputs of one item, without data
}

// HeldOut reads the model package in a directory and its held-out set.
func HeldOut(dir string) (*Samples, error) {
	m, err := modelpkg.LoadIn(filepath.Dir(dir), dir) // links may lead to other packages beside it
	if err != nil {
		return nil, err
	}
	if m.Evaluation.HeldOut == "" {
		return nil, slo.E("load "+dir, slo.KindInvalid, "the package has no held-out set")
	}
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
	if err != nil {
		return nil, err
	}
	return NewSamples(m, set)
}

// NewSamples prepares the samples of a set for sending. Inputs with buckets have the shapes
// that the samples of a request are filled up to, see Inputs.
func NewSamples(m *modelpkg.Model, set *modelpkg.Set) (*Samples, error) {
	s := &Samples{Model: m, Set: set}
	for i, in := range m.Inputs {
		if in.Buckets != nil {
			s.one = append(s.one, tensor.Tensor{Name: in.Name, DType: in.DType})
			continue
		}
		elements, _ := tensor.Count(in.DType, set.Item(0)[i])
		shape, err := settle(in.Spec, elements)
		if err != nil {
			return nil, err
		}
		s.one = append(s.one, tensor.Tensor{Name: in.Name, DType: in.DType, Shape: append(tensor.Shape{1}, shape...)})
	}
	return s, nil
}

// settle replaces the dynamic dimension of an input by what the samples have.
func settle(spec modelpkg.Spec, elements int) (tensor.Shape, error) {
	shape := slices.Clone(spec.Shape)
	dynamic, known := -1, 1
	for i, d := range shape {
		switch {
		case d >= 0:
			known *= int(d)
		case dynamic >= 0:
			return nil, fmt.Errorf("input %s has the shape %v; inputs with more than one dynamic dimension cannot be replayed", spec.Name, spec.Shape)
		default:
			dynamic = i
		}
	}
	if dynamic >= 0 && known > 0 {
		shape[dynamic] = int64(elements / known)
	}
	return shape, nil
}

// Len returns the number of samples.
func (s *Samples) Len() int { return s.Set.Len() }

// Unmeasured says why answers cannot be scored; "" if they can.
func (s *Samples) Unmeasured() string {
	if !s.Model.Scoring.External() {
		return ""
	}
	return "The metric is external: scores come from files and cannot be measured while replaying. What is expected is what was promised."
}

// Source is the path of the set inside its package, or its own.
func (s *Samples) Source() string {
	if path, err := filepath.Rel(s.Model.Dir, s.Set.Path); err == nil && filepath.IsLocal(path) {
		return filepath.ToSlash(path)
	}
	return s.Set.Path
}

// Inputs copies samples into the inputs of one request. The inputs of a single sample
// are views of the set.
func (s *Samples) Inputs(samples []int32) []tensor.Tensor {
	items := make([][][]byte, len(samples))
	for i, at := range samples {
		items[i] = s.Set.Item(int(at))
	}
	return s.inputs(samples, items)
}

// inputs makes the inputs of one request of items that have the sizes of these samples.
func (s *Samples) inputs(samples []int32, items [][][]byte) []tensor.Tensor {
	inputs := slices.Clone(s.one)
	if s.Model.Sized() {
		sizes := make([]slo.Sizes, len(samples))
		for i, at := range samples {
			sizes[i] = s.Set.Sizes(int(at))
		}
		var shapes []tensor.Shape
		items, shapes = s.Model.Together(items, sizes)
		for k, in := range s.Model.Inputs {
			if in.Buckets != nil {
				inputs[k].Shape = append(tensor.Shape{1}, shapes[k]...)
			}
		}
	}
	for k := range inputs {
		if len(samples) == 1 {
			inputs[k].Data = items[0][k]
			continue
		}
		inputs[k].Shape = slices.Clone(inputs[k].Shape)
		inputs[k].Shape[0] = int64(len(samples))
		for _, item := range items {
			inputs[k].Data = append(inputs[k].Data, item[k]...)
		}
	}
	return inputs
}

// NewTarget returns a target for the samples' model on the server at url, with a bound
// on the requests in flight.
func NewTarget(url string, samples *Samples, concurrency int) (*Target, error) {
	options := client.Options{ConnectionsMax: concurrency, GRPC: clientgrpc.Dial}
	if !strings.HasPrefix(url, "grpc") && !strings.HasPrefix(url, "https:") {
		options.Transport = &transport{}
	}
	c, err := client.New(url, options)
	if err != nil {
		return nil, err
	}
	return &Target{client: c, set: samples}, nil
}

// Close closes the connections.
func (t *Target) Close() { t.client.Close() }

// Infer sends a job and returns the whole answer.
func (t *Target) Infer(ctx context.Context, job Job) (*client.Response, error) {
	return t.client.Infer(ctx, client.Request{
		Model:       t.set.Model.Name,
		Inputs:      t.Shifted.inputs(t.set, job),
		MinAccuracy: job.Floor.Float(),
		Deadline:    job.Deadline,
		Late:        client.Late(job.Late.String()),

		AccuracyConfidence: t.Confidence.Float(),
	})
}

// Send sends a job and fills in its answer.
func (t *Target) Send(ctx context.Context, job Job, a *Answer) {
	answer, err := t.Infer(ctx, job)
	if err != nil {
		a.Outcome, a.Failure = outcomeOf(err)
		return
	}
	if err := t.grade(job, answer, a); err != nil {
		a.Outcome, a.Failure = slo.Failed, err.Error()
		return
	}
	var err2 error
	a.Expected, err = slo.AccuracyOf(answer.ExpectedAccuracy)
	a.Low, err2 = slo.AccuracyOf(answer.AccuracyLow)
	if err := cmp.Or(err, err2); err != nil {
		a.Outcome, a.Failure = slo.Failed, err.Error()
		return
	}
	a.Outcome = slo.OnTime
	t.labeller.answered(job, answer)
	for _, v := range answer.Mix() {
		a.Mix = append(a.Mix, VariantItems{Variant: v.Variant, Items: v.Items})
	}
}

// grade scores an answer against the labels. An item that has no answer scores 0.
func (t *Target) grade(job Job, answer *client.Response, a *Answer) error {
	if len(answer.Outputs) == 0 {
		return errors.New("the answer has no outputs")
	}
	if t.set.Unmeasured() != "" {
		return nil
	}
	for i, sample := range job.Samples {
		if slices.Contains(answer.FailedItems, i) {
			a.Scores = append(a.Scores, 0)
			continue
		}
		result, err := t.set.Set.Score(answer.Outputs[0], i, int(sample))
		if err != nil {
			return err
		}
		a.Scores = append(a.Scores, float32(result.Score))
	}
	return nil
}

// outcomeOf converts an error to an outcome and to a reason without details of the
// job.
func outcomeOf(err error) (slo.Outcome, string) {
	var refused *client.Error
	if !errors.As(err, &refused) {
		// Remove the address of the connection, so that equal errors are counted together.
		if network, ok := errors.AsType[*net.OpError](err); ok {
			return slo.Failed, "cannot " + network.Op + ": " + network.Err.Error()
		}
		return slo.Failed, err.Error()
	}
	switch refused.Status {
	case http.StatusTooManyRequests:
		return slo.Shed, "shed: too busy to be on time"
	case http.StatusGatewayTimeout:
		return slo.Shed, "shed: its deadline passed in the queue"
	case http.StatusUnprocessableEntity:
		return slo.Infeasible, refused.Message
	}
	return slo.Failed, refused.Error()
}
