package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/jobs"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// JobRunner runs the chunks of durable jobs on the engine, each like a request.
func (a *API) JobRunner() jobs.Runner { return jobRunner{a} }

type jobRunner struct{ api *API }

// jobWork is a job whose input is in memory.
type jobWork struct {
	api   *API
	spec  *jobs.Spec
	input []byte

	mu   sync.Mutex
	made *madeJob
	old  []*exchange
}

// madeJob is a job's request, decoded for a deployment of its model.
type madeJob struct {
	model   *modelpkg.Model
	x       *exchange
	request engine.Request
	carried carried
	outputs []int
}

// Open implements jobs.Runner.
func (r jobRunner) Open(_ context.Context, s *jobs.Spec, input []byte) (jobs.Work, error) {
	b, err := r.api.current()
	if err != nil {
		return nil, err
	}
	l, err := b.engine.Use(s.Model, s.Version)
	if err != nil {
		return nil, err
	}
	defer l.Release()
	w := &jobWork{api: r.api, spec: s, input: input}
	if _, err := w.of(l.Model); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Close implements jobs.Work.
func (w *jobWork) Close() {
	for _, x := range w.old {
		x.release()
	}
}

// of returns the request for a model, which is decoded again if the model was replaced.
func (w *jobWork) of(m *modelpkg.Model) (*madeJob, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.made != nil && w.made.model == m {
		return w.made, nil
	}
	x := newExchange(&w.api.bodies)
	x.engaged = true // its memory is not reused: chunks may still run when the job ends
	w.old = append(w.old, x)
	if err := x.reserve(int64(len(w.input))); err != nil {
		return nil, err
	}
	x.body = w.input
	header := http.Header{}
	if w.spec.JSONBytes != oip.AllJSON {
		header.Set(oip.HeaderLength, strconv.Itoa(w.spec.JSONBytes))
	}
	if err := x.decode(header, m, w.api.cfg.Tensors); err != nil {
		return nil, err
	}
	made, err := &madeJob{model: m, x: x}, error(nil)
	if made.request, made.carried, err = x.job(m, origin{header: http.Header{}}, w.api.cfg.ItemsMax); err != nil {
		return nil, err
	}
	if made.outputs, _, err = wanted(&x.request, m); err != nil {
		return nil, err
	}
	if n := len(made.request.Items); n != w.spec.Items {
		return nil, invalid("the model was replaced by one for which the input has %d items, not %d", n, w.spec.Items)
	}
	w.made = made
	return made, nil
}

// Run implements jobs.Work.
func (w *jobWork) Run(ctx context.Context, c jobs.Chunk) (jobs.Result, error) {
	b, err := w.api.current()
	if err != nil {
		return jobs.Result{}, err
	}
	l, err := b.engine.Use(w.spec.Model, w.spec.Version)
	if err != nil {
		return jobs.Result{}, err
	}
	defer l.Release()
	made, err := w.of(l.Model)
	if err != nil {
		return jobs.Result{}, err
	}
	r := made.request
	r.ID, r.Client = w.spec.ID+"/"+strconv.Itoa(c.Index), w.spec.Client
	r.Items, r.Mixed = r.Items[c.First:c.First+c.Items], cut(r.Mixed, c.First, c.Items)
	r.Objective.Floor, r.Objective.Confidence = c.Floor, c.Confidence
	r.Objective.Deadline, r.Objective.Late = slo.Never, slo.LateRun // the job's own rule is applied to the whole job
	if !c.Deadline.IsZero() {
		r.Objective.Deadline = b.engine.Now().Add(time.Until(c.Deadline))
	}
	answer, err := l.Infer(ctx, r)
	if err != nil {
		return jobs.Result{}, made.carried.explained(l.Model, err)
	}
	return made.result(&answer, c)
}

// cut returns n items of a list of runs, from item first on.
func cut(runs []slo.Carried, first, n int) (part []slo.Carried) {
	for _, run := range runs {
		skip := min(first, run.Items)
		first -= skip
		if run.Items = min(run.Items-skip, n); run.Items > 0 {
			part = append(part, run)
			n -= run.Items
		}
	}
	return part
}

// failedLine is the line of an item without an answer.
type failedLine struct {
	ModelName    string         `json:"model_name"`
	ModelVersion string         `json:"model_version"`
	Parameters   map[string]any `json:"parameters"`
	Error        string         `json:"error"`
}

// result makes the lines of a chunk: each is the answer to an inference of one item.
func (j *madeJob) result(answer *engine.Response, c jobs.Chunk) (jobs.Result, error) {
	r := jobs.Result{Ran: map[string]int{}}
	errs := make(map[int]error, len(answer.Failed))
	for _, f := range answer.Failed {
		errs[f.Item] = f.Err
	}
	r.Failed = len(errs)
	r.Answered = c.Items - r.Failed
	r.Score = answer.ExpectedAccuracy.Times(r.Answered)
	line := oip.Response{ModelName: j.model.Name, ModelVersion: j.model.Version}
	rows := make([][][]byte, len(j.outputs))
	for k, output := range j.outputs {
		out := answer.Outputs[output]
		if r.Answered > 0 {
			rows[k] = out.Split()
		}
		out.Shape = append(out.Shape[:0:0], out.Shape...)
		out.Shape[0] = 1
		line.Outputs = append(line.Outputs, out)
	}
	forms := make([]oip.Form, len(j.outputs))
	for i := range c.Items {
		if err := errs[i]; err != nil {
			if r.Why == "" {
				r.Why = publicText(err)
			}
			text, err := json.Marshal(failedLine{j.model.Name, j.model.Version, map[string]any{"item": c.First + i}, publicText(err)})
			if err != nil {
				return r, slo.E("encode a result", slo.KindInternal, "%w", err)
			}
			r.Lines = append(append(r.Lines, text...), '\n')
			continue
		}
		variant := j.model.Variants[answer.Variants[i]].Name
		r.Ran[variant]++
		line.Parameters = append(line.Parameters[:0], oip.Parameter{Name: "item", Value: oip.Int(int64(c.First + i))}, oip.Parameter{Name: "variant", Value: oip.String(variant)})
		for k := range line.Outputs {
			line.Outputs[k].Data = rows[k][i]
		}
		var err error
		if r.Lines, _, err = line.Append(r.Lines, forms); err != nil {
			return r, slo.E("", slo.KindInvalid, "%w: results of jobs are JSON, so choose other outputs", err)
		}
		r.Lines = append(r.Lines, '\n')
	}
	return r, nil
}
