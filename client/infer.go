package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// Request asks a model about n items. Only Model and Inputs are needed.
type Request struct {
	Model   string
	Version string // "": the one that the server chooses
	ID      string // the answer repeats it
	// Inputs have the items as their first dimension: [n, ...]. Any modalities of
	// the model may be left out. The bytes must not change until the call is done.
	Inputs  []tensor.Tensor
	Outputs []string // names of the outputs to return, in this order; nil: all
	// Items is for modalities that not every item carries: by modality, the items that
	// the rows of its inputs belong to, in ascending order. Nil: every item carries all.
	Items map[string][]int

	MinAccuracy float64 // least expected accuracy of the mean over the items, 0..1 (0.97, not 97); 0: any
	// AccuracyConfidence, if above 0, asks that a lower bound of the expected accuracy at
	// this confidence, such as 0.95, is at least MinAccuracy. 0: the server's default.
	AccuracyConfidence float64
	Deadline           time.Duration // time from now until the answer; 0: no deadline besides that of the context
	Late               Late          // what the server does if it cannot be on time
	Modalities         []string      // run exactly these; nil: the server chooses
	// NoRecovery leaves out variants that recover modalities which an item does not carry.
	NoRecovery bool
	Parameters oip.Parameters
	// JSON sends tensors as JSON over REST, and asks for them so: for a server that does
	// not list the extension "binary_tensor_data". NaN, infinities, FP16 and BF16 cannot be
	// sent so.
	JSON bool
}

// form is how tensors travel over REST.
func (r *Request) form() oip.Form {
	if r.JSON {
		return oip.JSON
	}
	return oip.Binary
}

// Late says what the server does with a request that cannot be on time.
type Late string

// The rules. The server's default is LateDrop.
const (
	LateDefault Late = ""
	LateDrop    Late = "drop" // do not run it
	LateRun     Late = "run"  // run it all the same
)

// Response is the answer to a Request.
type Response struct {
	Model   string
	Version string
	ID      string
	Outputs []tensor.Tensor // first dimension: the items, in the order of the request

	Variant            string        // what ran; a variant or a cascade; "image:24,all:8" if not all items ran on the same, see Mix
	AnsweredBy         string        // in the same form, the variants whose outputs these are, if a cascade ran; else ""
	Confidence         float64       // of the answer that a cascade judged; only of a request of one item
	Modalities         []string      // used for at least one item
	ExpectedAccuracy   float64       // mean over the items that have an answer, 0..1
	AccuracyLow        float64       // its lower bound: at AccuracyConfidence, or 0.95 if that is 0; 0: not known
	FailedItems        []int         // items without an answer: their rows have no meaning
	FailedReason       string        // why the first of them has none
	Absent             string        // modalities that were sent and count as absent, such as "audio" or "audio:0-3;text:5"
	Recovered          string        // modalities that were missing and that the model recovered, in the same form
	Trusted            string        // those of them that the answers use
	Queue              time.Duration // from arrival to the start of the first batch
	Compute            time.Duration // summed over the batches in which the items ran
	Late               bool          // ready after the deadline; only with LateRun
	MinAccuracy        float64       // the floor as the server understood it; 0: none
	AccuracyConfidence float64       // of the floor, as the server understood it; 0: it holds for the expected accuracy
	Deadline           time.Duration // the deadline as the server understood it, from the arrival of the request; 0: none
	Job                string        // the server's id of the request, by which it can be explained
	Parameters         oip.Parameters
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

// Mix parses Variant. It is empty if the server named no variant.
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

// Infer sends a request and waits for its answer. The server learns the earlier one of
// the deadlines of ctx and of the request; when ctx ends, the server is told to give up.
//
// An answer that is not a success is an *Error.
func (c *Client) Infer(ctx context.Context, r Request) (*Response, error) {
	if err := c.begin(ctx, &r); err != nil {
		return nil, err
	}
	defer c.leave()
	return c.infer(ctx, &r)
}

// begin waits until the request may be sent, and subtracts the wait from its deadline.
// If it returns nil, the caller must call leave.
func (c *Client) begin(ctx context.Context, r *Request) error {
	arrived := time.Now()
	waitMax := max(r.Deadline, 0)
	if r.Late == LateRun {
		waitMax = 0
	}
	if err := c.enter(ctx, waitMax); err != nil {
		return fmt.Errorf("infer %s: %w", r.Model, err)
	}
	if r.Deadline > 0 {
		r.Deadline = max(r.Deadline-time.Since(arrived), time.Nanosecond)
	}
	return nil
}

// infer sends a request after begin.
func (c *Client) infer(ctx context.Context, r *Request) (*Response, error) {
	answer, err := c.transport.infer(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("infer %s: %w", r.Model, err)
	}
	return answer, nil
}

// message writes the request into a request of the protocol, which may have been used
// before. deadline is the time until the answer; 0: no deadline.
func (r *Request) message(wire *oip.Request, deadline time.Duration) error {
	switch {
	case r.Model == "":
		return errors.New("the request names no model: set Request.Model")
	case r.Deadline < 0:
		return fmt.Errorf("the deadline is %v: it must be above 0, or 0 for none", r.Deadline)
	case !(r.MinAccuracy >= 0 && r.MinAccuracy <= 1):
		return fmt.Errorf("MinAccuracy is %v: an accuracy is between 0 and 1, such as 0.97", r.MinAccuracy)
	case !(r.AccuracyConfidence >= 0 && r.AccuracyConfidence < 1):
		return fmt.Errorf("AccuracyConfidence is %v: a confidence is between 0 and 1, such as 0.95", r.AccuracyConfidence)
	}
	wire.ID, wire.OutputForm = r.ID, r.form()
	wire.Inputs = append(wire.Inputs[:0], r.Inputs...)
	wire.Outputs = wire.Outputs[:0]
	for _, name := range r.Outputs {
		wire.Outputs = append(wire.Outputs, oip.Output{Name: name, Form: r.form()})
	}
	wire.Parameters = append(wire.Parameters[:0], r.Parameters...)
	add := func(name string, value oip.Value) {
		wire.Parameters = append(wire.Parameters, oip.Parameter{Name: name, Value: value})
	}
	if r.MinAccuracy != 0 {
		add("min_accuracy", oip.Float(r.MinAccuracy))
	}
	if r.AccuracyConfidence != 0 {
		add("accuracy_confidence", oip.Float(r.AccuracyConfidence))
	}
	if deadline > 0 {
		ms := float64(deadline) / float64(time.Millisecond)
		add("deadline_ms", oip.Float(max(math.Round(ms*1000)/1000, 0.001))) // to the microsecond
	}
	if r.Late != LateDefault {
		add("late", oip.String(string(r.Late)))
	}
	if r.Modalities != nil {
		add("modalities", oip.String(strings.Join(r.Modalities, ",")))
	}
	if r.NoRecovery {
		add("recover", oip.Bool(false))
	}
	for _, modality := range slices.Sorted(maps.Keys(r.Items)) {
		add("items."+modality, oip.String(oip.FormatItems(r.Items[modality])))
	}
	return nil
}

// newResponse makes a Response from an answer of the protocol. It reads what a mosel
// server says about the run from the parameters.
func newResponse(wire *oip.Response) (*Response, error) {
	r := &Response{Model: wire.ModelName, Version: wire.ModelVersion, ID: wire.ID, Outputs: wire.Outputs, Parameters: wire.Parameters}
	var err error
	for _, p := range r.Parameters {
		switch p.Name {
		case "variant":
			r.Variant = p.Value.Text()
		case "answered_by":
			r.AnsweredBy = p.Value.Text()
		case "confidence":
			r.Confidence, err = p.Value.Float64()
		case "modalities":
			r.Modalities = strings.Split(p.Value.Text(), ",")
		case "expected_accuracy":
			r.ExpectedAccuracy, err = p.Value.Float64()
		case "accuracy_low":
			r.AccuracyLow, err = p.Value.Float64()
		case "accuracy_confidence":
			r.AccuracyConfidence, err = p.Value.Float64()
		case "min_accuracy":
			r.MinAccuracy, err = p.Value.Float64()
		case "deadline_ms":
			r.Deadline, err = milliseconds(p.Value)
		case "queue_us":
			r.Queue, err = microseconds(p.Value)
		case "compute_us":
			r.Compute, err = microseconds(p.Value)
		case "late":
			r.Late, err = p.Value.Bool()
		case "job":
			r.Job = p.Value.Text()
		case "failed_items":
			r.FailedItems, err = oip.ParseItems(p.Value.Text(), r.rows())
		case "failed_reason":
			r.FailedReason = p.Value.Text()
		case "absent":
			r.Absent = p.Value.Text()
		case "recovered":
			r.Recovered = p.Value.Text()
		case "trusted":
			r.Trusted = p.Value.Text()
		}
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", p.Name, err)
		}
	}
	return r, nil
}

// rows is how many items an answer has.
func (r *Response) rows() (most int) {
	for i := range r.Outputs {
		most = max(most, r.Outputs[i].Rows())
	}
	return most
}

func milliseconds(v oip.Value) (time.Duration, error) {
	ms, err := v.Float64()
	if err == nil && !(ms >= 0 && ms < float64(math.MaxInt64/time.Millisecond)) {
		err = fmt.Errorf("%v is not a duration in milliseconds", ms)
	}
	return time.Duration(math.Round(ms*1000)) * time.Microsecond, err
}

func microseconds(v oip.Value) (time.Duration, error) {
	us, err := v.Int64()
	if err == nil && (us < 0 || us > math.MaxInt64/int64(time.Microsecond)) {
		err = fmt.Errorf("%d is not a duration in microseconds", us)
	}
	return time.Duration(us) * time.Microsecond, err
}
