package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// origin is what a transport knows about a request besides its content.
type origin struct {
	arrived    slo.Instant
	header     access.Header
	confidence slo.Confidence // of floors that say nothing of it
	deadline   time.Time      // of the transport; zero: none
	client     string         // for fair sharing
	trace      *tracing       // nil: none
}

// run runs a decoded request on the engine and makes its answer. Both transports use it.
// forms are the forms in which the outputs are requested.
func (a *API) run(ctx context.Context, x *exchange, l engine.Lease, from origin) (answer oip.Response, forms []oip.Form, err error) {
	job, c, err := x.job(l.Model, from, a.cfg.ItemsMax)
	if err != nil {
		return oip.Response{}, nil, err
	}
	outputs, forms, err := wanted(&x.request, l.Model)
	if err != nil {
		return oip.Response{}, nil, err
	}
	from.trace.asked(l.Model, &job)
	x.engaged = true
	result, err := l.Infer(ctx, job)
	x.engaged = result.Held
	from.trace.ran(l.Model, &result, err)
	if err != nil {
		return oip.Response{}, nil, c.explained(l.Model, err)
	}
	x.hold(dataBytes(result.Outputs))
	if a.cfg.Feedback != nil {
		a.remember(x.request.ID, l, &result)
	}
	told := append(append(facts(l.Model, result), c.told(l.Model)...), append(recovery(l.Model, result), primary(l.Model, result)...)...)
	answer = oip.Response{ModelName: l.Model.Name, ModelVersion: l.Model.Version, ID: x.request.ID, Parameters: understood(told, job.Objective, from.arrived)}
	for _, i := range outputs {
		answer.Outputs = append(answer.Outputs, result.Outputs[i])
	}
	return answer, forms, nil
}

// client identifies the client of a request for fair sharing: by ClientHeader if that is
// enabled and sent, else by the name of the token, else by the address.
func (a *API) client(header access.Header, caller access.Caller, remote string) string {
	if a.cfg.ClientHeader != "" {
		if name := header.Get(a.cfg.ClientHeader); name != "" {
			return name[:min(len(name), clientBytesMax)]
		}
	}
	if caller.Name != "" {
		return caller.Name
	}
	if at := strings.LastIndexByte(remote, ':'); at > 0 {
		return remote[:at]
	}
	return remote
}

// clientBytesMax bounds the name in ClientHeader.
const clientBytesMax = 128

// infer serves inference over REST.
func (a *API) infer(w http.ResponseWriter, r *http.Request, args arguments) (err error) {
	from := origin{arrived: args.engine.Now(), header: r.Header, confidence: a.cfg.Confidence, client: a.client(r.Header, args.caller, r.RemoteAddr)}
	from.trace = a.trace(r.Context(), r.Header, from.arrived)
	defer func() { from.trace.end(err) }()
	from.trace.of(r.PathValue("model"))
	l, err := args.engine.Use(r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	defer l.Release()
	x := newExchange(&a.bodies)
	defer x.release()
	if err := a.readBody(w, r, x); err != nil {
		return err
	}
	if err := x.decode(r.Header, l.Model, a.cfg.Tensors); err != nil {
		return err
	}
	answer, forms, err := a.run(r.Context(), x, l, from)
	if err != nil {
		return err
	}
	return a.answer(w, r, x, answer, forms)
}

// decodedPerByte is the largest number of bytes of data that a byte of JSON can become:
// "0," becomes a number of eight bytes.
const decodedPerByte = 4

// decode reads the request in the body, in any of its forms.
func (x *exchange) decode(header http.Header, m *modelpkg.Model, limits oip.Limits) error {
	n := oip.AllJSON
	if text := header.Get(oip.HeaderLength); text != "" {
		length, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return invalid("header %s is %q: it must be the number of bytes of the JSON part", oip.HeaderLength, text)
		}
		n = int(length)
	}
	if n == 0 {
		return x.decodeRaw(m)
	}
	text := int64(len(x.body)) // bytes of JSON; the rest is data in binary form
	if n != oip.AllJSON {
		text = min(text, int64(n))
	}
	if err := x.reserve(text * decodedPerByte); err != nil {
		return err
	}
	if err := x.request.Decode(x.body, n, limits); err != nil {
		return undecodable(err)
	}
	x.hold(dataBytes(x.request.Inputs) - (int64(len(x.body)) - text) - text*decodedPerByte)
	return nil
}

// dataBytes returns the total size of the tensors' data.
func dataBytes(tensors []tensor.Tensor) (n int64) {
	for i := range tensors {
		n += int64(len(tensors[i].Data))
	}
	return n
}

// undecodable sets the kind of a decoder's error.
func undecodable(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, oip.ErrTooLarge):
		return slo.E("", slo.KindTooLarge, "%w", err)
	case errors.Is(err, oip.ErrUnsupported):
		return slo.E("", slo.KindUnsupported, "%w", err)
	}
	return slo.E("", slo.KindInvalid, "%w", err)
}

// decodeRaw reads a body that is the data of the model's only input. If the shape of the
// input has a dynamic dimension, the body is one item, and its size gives that dimension.
func (x *exchange) decodeRaw(m *modelpkg.Model) error {
	if len(m.Inputs) != 1 {
		return invalid("header %s: 0 is allowed only for models with a single input; %s has %s", oip.HeaderLength, m.Name, describeInputs(m))
	}
	in := m.Inputs[0]
	shape := batched(in.Shape)
	for _, d := range in.Shape {
		if d == -1 {
			shape[0] = 1
		}
	}
	if in.DType == tensor.Bytes { // the body is copied behind its length
		if err := x.reserve(int64(len(x.body))); err != nil {
			return err
		}
	}
	return undecodable(x.request.DecodeRaw(x.body, tensor.Tensor{Name: in.Name, DType: in.DType, Shape: shape}))
}

// job makes the engine's request from the decoded one.
func (x *exchange) job(m *modelpkg.Model, from origin, itemsMax int) (engine.Request, carried, error) {
	goal, err := objective(x.request.Parameters, from.header, from.arrived, from.confidence)
	if err != nil {
		return engine.Request{}, carried{}, err
	}
	if !from.deadline.IsZero() {
		goal.Deadline = min(goal.Deadline, from.arrived.Add(time.Until(from.deadline)))
	}
	c, err := x.takeItems(m, itemsMax)
	if err != nil {
		return engine.Request{}, c, err
	}
	if goal.NoRecovery {
		if err := c.check(m, true); err != nil {
			return engine.Request{}, c, err
		}
	}
	chosen, err := choice(x.request.Parameters, m, c, goal.NoRecovery)
	if err != nil {
		return engine.Request{}, c, err
	}
	r := engine.Request{ID: x.request.ID, Client: from.client, Modalities: c.union, Choice: chosen, Items: x.items, Encoded: x.files, Mixed: c.runs(chosen), Objective: goal}
	if m.Sized() {
		r.Shapes = itemShapes(m, x.given)
		if err := x.reserve(int64(len(x.items)) * m.FittedBytesMax(c.union, r.Shapes)); err != nil {
			return engine.Request{}, c, err
		}
	}
	return r, c, nil
}

// factsUsual is how many facts an answer usually has: the seven above, floor, confidence and deadline.
const factsUsual = 10

// factBytesMax is the length up to which a header repeats a fact. Lists of items can have
// hundreds of kilobytes, and many proxies and clients refuse answers with more than 4 KiB
// of headers.
const factBytesMax = 512

// mirrored reports whether a fact is short enough for a header.
func mirrored(p oip.Parameter) bool { return len(p.Value.Text()) <= factBytesMax }

// factHeaders are headers that repeat parameters of an answer, for clients and proxies
// that do not read the body. Floor and deadline are in the body only.
var factHeaders = map[string]string{
	"job":               oip.HeaderJob,
	"variant":           "X-Mosel-Variant",
	"modalities":        "X-Mosel-Modalities",
	"expected_accuracy": "X-Mosel-Expected-Accuracy",
	"accuracy_low":      "X-Mosel-Accuracy-Low",
	"queue_us":          "X-Mosel-Queue-Us",
	"compute_us":        "X-Mosel-Compute-Us",
	"late":              "X-Mosel-Late",
	"absent":            "X-Mosel-Absent",
	"recovered":         "X-Mosel-Recovered",
	"trusted":           "X-Mosel-Trusted",
	"failed_items":      "X-Mosel-Failed-Items",
}

// answer encodes and sends the answer to an inference.
func (a *API) answer(w http.ResponseWriter, r *http.Request, x *exchange, answer oip.Response, forms []oip.Form) error {
	body, n, err := answer.Append(x.answer, forms)
	if errors.Is(err, oip.ErrNotJSON) {
		return slo.E("", slo.KindInvalid, "%w", err) // the client can request the binary form
	}
	if err != nil {
		return slo.E("encode the answer", slo.KindInternal, "%w", err)
	}
	if n == oip.AllJSON {
		body = append(body, '\n') // for people with curl
	}
	x.answer = body
	x.hold(int64(len(body)))
	header := w.Header()
	if len(body) >= a.cfg.CompressBytesMin {
		if encoding := accepted(r.Header.Get("Accept-Encoding")); encoding != "" {
			if body, err = compress(encoding, body); err != nil {
				return err
			}
			x.hold(int64(len(body)))
			header.Set("Content-Encoding", encoding)
		}
	}
	headed(header, answer.Parameters, n, len(body))
	w.WriteHeader(http.StatusOK)
	w.Write(body)
	return nil
}

// statedBytesMax is the size up to which net/http sets Content-Length itself. That
// costs less: without this header there are eight headers, which fit in a map before it
// grows and net/http copies it.
const statedBytesMax = 2048

// headed sets the headers of an answer: bytes is its size, jsonBytes the size of its
// JSON part. It allocates their values together.
func headed(header http.Header, facts oip.Parameters, jsonBytes, bytes int) {
	values := make([]string, 0, len(facts)+3)
	set := func(name, value string) {
		values = append(values, value)
		header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	if jsonBytes == oip.AllJSON {
		set("Content-Type", "application/json")
	} else {
		set("Content-Type", "application/octet-stream")
		set(oip.HeaderLength, strconv.Itoa(jsonBytes))
	}
	for _, p := range facts {
		if name := factHeaders[p.Name]; name != "" && mirrored(p) {
			set(name, p.Value.Text())
		}
	}
	if bytes > statedBytesMax {
		set("Content-Length", strconv.Itoa(bytes))
	}
}
