package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// Request asks a model about n items. Only Model and Inputs are needed.
type Request struct {
	Model   string
	Version string // "": whichever is served
	ID      string // comes back in the answer
	// Inputs have the items as their first dimension: [n, ...]. Any modalities of
	// the model may be left out. The bytes are read until Infer returns.
	Inputs  []tensor.Tensor
	Outputs []string // wanted, in this order; nil: all

	MinAccuracy float64       // least expected accuracy of the mean over the items, 0..1; 0: any
	Deadline    time.Duration // time for it all from now on: queue, run, answer; 0: no deadline of its own
	Late        Late          // what becomes of it when it cannot be on time
	Modalities  []string      // run exactly these; nil: the server chooses
	Parameters  oip.Parameters
}

// Late is what the server does with work that cannot be on time.
type Late string

// The rules. The default of the server is to drop.
const (
	LateDefault Late = ""
	LateDrop    Late = "drop" // do not run it
	LateRun     Late = "run"  // late is better than never
)

// Response is the answer to a Request.
type Response struct {
	Model   string
	Version string
	ID      string
	Outputs []tensor.Tensor // first dimension: the items, in the order of the request

	Variant          string        // what ran; "image:24,all:8" where not all items ran on the same, see Mix
	Modalities       []string      // used for at least one item
	ExpectedAccuracy float64       // mean over the items, 0..1
	Queue            time.Duration // from arrival to the start of the first batch
	Compute          time.Duration // summed over the batches in which the items ran
	Late             bool          // ready after the deadline; only with LateRun
	Parameters       oip.Parameters
}

// VariantItems says how many items ran on a variant.
type VariantItems struct {
	Variant string
	Items   int
}

// Output returns the output with that name.
func (r *Response) Output(name string) (tensor.Tensor, bool) {
	for _, t := range r.Outputs {
		if t.Name == name {
			return t, true
		}
	}
	return tensor.Tensor{}, false
}

// Mix takes Variant apart. It is empty where the server named no variant.
func (r *Response) Mix() []VariantItems {
	if r.Variant == "" {
		return nil
	}
	var mix []VariantItems
	for part := range strings.SplitSeq(r.Variant, ",") {
		name, count, found := strings.Cut(part, ":")
		items, err := strconv.Atoi(count)
		if !found || err != nil {
			name, items = part, r.items()
		}
		mix = append(mix, VariantItems{name, items})
	}
	return mix
}

func (r *Response) items() int {
	if len(r.Outputs) == 0 {
		return 0
	}
	return r.Outputs[0].Rows()
}

// wires are the protocol's requests, kept to be filled again.
var wires = sync.Pool{New: func() any { return new(oip.Request) }}

// Infer sends a request and waits for its answer. The deadline of ctx is sent
// along if it is earlier than the request's own; when ctx ends, the server is
// told to give up.
//
// An answer that is not a success is an *Error.
func (c *Client) Infer(ctx context.Context, r Request) (*Response, error) {
	p, n, err := r.encode(ctx)
	if err != nil {
		return nil, fmt.Errorf("infer %s: %w", r.Model, err)
	}
	defer p.release()
	path := []string{"models", r.Model, "infer"}
	if r.Version != "" {
		path = []string{"models", r.Model, "versions", r.Version, "infer"}
	}
	u := c.url(path...)
	req := (&http.Request{
		Method:        http.MethodPost,
		URL:           u,
		Host:          u.Host,
		Header:        http.Header{oip.HeaderLength: {strconv.Itoa(n)}, "Content-Type": {"application/octet-stream"}},
		Body:          p.reader(),
		GetBody:       p.again,
		ContentLength: int64(len(p.bytes)),
	}).WithContext(ctx)
	header, body, err := c.send(req)
	if err != nil {
		return nil, fmt.Errorf("infer %s: %w", r.Model, err)
	}
	answer, err := decode(header, body)
	if err != nil {
		return nil, fmt.Errorf("infer %s: the answer is not what the protocol says: %w", r.Model, err)
	}
	return answer, nil
}

// encode writes the request in the protocol's binary form.
func (r *Request) encode(ctx context.Context) (p *payload, jsonBytes int, err error) {
	if r.Model == "" {
		return nil, 0, errors.New("no model is named")
	}
	wire := wires.Get().(*oip.Request)
	defer func() {
		clear(wire.Inputs) // nothing of the caller's stays in the pool
		wires.Put(wire)
	}()
	*wire = oip.Request{ID: r.ID, Inputs: append(wire.Inputs[:0], r.Inputs...), Outputs: wire.Outputs[:0],
		Parameters: append(wire.Parameters[:0], r.Parameters...), OutputForm: oip.Binary}
	for _, name := range r.Outputs {
		wire.Outputs = append(wire.Outputs, oip.Output{Name: name, Form: oip.Binary})
	}
	if wire.Parameters, err = r.objective(ctx, wire.Parameters); err != nil {
		return nil, 0, err
	}
	p = newPayload()
	if p.bytes, jsonBytes, err = wire.Append(p.bytes, oip.Binary); err != nil {
		p.release()
		return nil, 0, err
	}
	return p, jsonBytes, nil
}

// objective adds what the client asks for to the parameters.
func (r *Request) objective(ctx context.Context, params oip.Parameters) (oip.Parameters, error) {
	add := func(name string, value oip.Value) { params = append(params, oip.Parameter{Name: name, Value: value}) }
	if r.MinAccuracy != 0 {
		add("min_accuracy", oip.Float(r.MinAccuracy))
	}
	if r.Deadline < 0 {
		return nil, fmt.Errorf("deadline %v is negative", r.Deadline)
	}
	left := r.Deadline
	if end, ok := ctx.Deadline(); ok {
		until := time.Until(end)
		if until <= 0 {
			return nil, context.DeadlineExceeded
		}
		if left == 0 || until < left {
			left = until
		}
	}
	if left > 0 {
		ms := float64(left) / float64(time.Millisecond)
		add("deadline_ms", oip.Float(max(math.Round(ms*1000)/1000, 0.001))) // to the microsecond
	}
	if r.Late != LateDefault {
		add("late", oip.String(string(r.Late)))
	}
	if r.Modalities != nil {
		add("modalities", oip.String(strings.Join(r.Modalities, ",")))
	}
	return params, nil
}

// decode reads an answer; its outputs are views of body.
func decode(header http.Header, body []byte) (*Response, error) {
	n := oip.AllJSON
	if length := header.Get(oip.HeaderLength); length != "" {
		var err error
		if n, err = strconv.Atoi(length); err != nil || n < 0 {
			return nil, fmt.Errorf("%s is %q", oip.HeaderLength, length)
		}
	}
	var wire oip.Response
	if err := wire.Decode(body, n, oip.DefaultLimits()); err != nil {
		return nil, err
	}
	r := &Response{Model: wire.ModelName, Version: wire.ModelVersion, ID: wire.ID, Outputs: wire.Outputs, Parameters: wire.Parameters}
	return r, r.facts()
}

// facts reads from the parameters what a mosel server says about the run.
func (r *Response) facts() (err error) {
	for _, p := range r.Parameters {
		switch p.Name {
		case "variant":
			r.Variant = p.Value.Text()
		case "modalities":
			r.Modalities = strings.Split(p.Value.Text(), ",")
		case "expected_accuracy":
			r.ExpectedAccuracy, err = p.Value.Float64()
		case "queue_us":
			r.Queue, err = microseconds(p.Value)
		case "compute_us":
			r.Compute, err = microseconds(p.Value)
		case "late":
			r.Late, err = p.Value.Bool()
		}
		if err != nil {
			return fmt.Errorf("parameter %q: %w", p.Name, err)
		}
	}
	return nil
}

func microseconds(v oip.Value) (time.Duration, error) {
	us, err := v.Int64()
	if err == nil && (us < 0 || us > math.MaxInt64/int64(time.Microsecond)) {
		err = fmt.Errorf("%d is not a duration in microseconds", us)
	}
	return time.Duration(us) * time.Microsecond, err
}
