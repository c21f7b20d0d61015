package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/jobs"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

var errJobsOff = slo.E("", slo.KindUnsupported, "durable jobs are not supported by this server: start it with --jobs DIRECTORY")

// Bounds on durable jobs.
const (
	keyBytesMax = 256 // of an idempotency key
	// A job has about chunksUsual chunks, so that its progress is seen and a crash loses
	// little, but chunks large enough that storing them costs little.
	chunksUsual   = 20
	chunkItemsMin = 16
	chunkItemsMax = 256
)

// jobRoutes are the resources of durable jobs. Who knows the id of a job may read and
// cancel it; ids cannot be guessed, and only a job's own client gets them in a list.
func (a *API) jobRoutes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{post, "/v2/models/{model}/jobs", a.submitJob, a.cfg.JobsRole},
		{post, "/v2/models/{model}/versions/{version}/jobs", a.submitJob, a.cfg.JobsRole},
		{get, "/v2/models/{model}/jobs", a.jobs(a.listJobs), a.cfg.JobsRole},
		{get, "/v2/models/{model}/jobs/{id}", a.jobs(a.job), a.cfg.JobsRole},
		{get, "/v2/models/{model}/jobs/{id}/results", a.jobs(a.jobResults), a.cfg.JobsRole},
		{http.MethodDelete, "/v2/models/{model}/jobs/{id}", a.jobs(a.cancelJob), a.cfg.JobsRole},
		{get, "/v2/health/jobs", a.jobsReady, access.Public},
	}
}

// jobs is a handler that needs durable jobs.
func (a *API) jobs(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request, args arguments) error {
		if a.cfg.Jobs == nil {
			return errJobsOff
		}
		return h(w, r, args)
	}
}

// submitJob accepts an inference request as a durable job.
func (a *API) submitJob(w http.ResponseWriter, r *http.Request, args arguments) error {
	if a.cfg.Jobs == nil {
		return errJobsOff
	}
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
	spec, err := a.jobSpec(x, r.Header, l, args)
	if err != nil {
		return err
	}
	spec.Client = a.client(r.Header, args.caller, r.RemoteAddr)
	job, created, err := a.cfg.Jobs.Submit(r.Context(), spec, x.body)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v2/models/"+job.Model+"/jobs/"+job.ID)
	status := http.StatusAccepted
	if !created {
		status = http.StatusOK
	}
	return writeJSON(w, status, job)
}

// jobSpec checks a request as an inference would be checked, and returns what it asks for.
func (a *API) jobSpec(x *exchange, header http.Header, l engine.Lease, args arguments) (jobs.Spec, error) {
	wall, arrived := time.Now().Round(0), args.engine.Now()
	if err := x.decode(header, l.Model, a.cfg.Tensors); err != nil {
		return jobs.Spec{}, err
	}
	request, carried, err := x.job(l.Model, origin{arrived: arrived, header: header, confidence: a.cfg.Confidence}, a.cfg.ItemsMax)
	if err != nil {
		return jobs.Spec{}, err
	}
	if _, _, err := wanted(&x.request, l.Model); err != nil {
		return jobs.Spec{}, err
	}
	if err := l.Feasible(request); err != nil {
		return jobs.Spec{}, carried.explained(l.Model, err)
	}
	key, err := idempotencyKey(x.request.Parameters, header)
	if err != nil {
		return jobs.Spec{}, err
	}
	goal, n := request.Objective, len(request.Items)
	spec := jobs.Spec{Key: key, Model: l.Model.Name, Version: l.Model.Version, Items: n, Created: wall,
		ChunkItems: min(max(n/chunksUsual, chunkItemsMin), chunkItemsMax),
		Floor:      goal.Floor, Confidence: goal.Confidence, Late: goal.Late, JSONBytes: oip.AllJSON}
	if goal.Deadline != slo.Never {
		spec.Deadline = wall.Add(goal.Deadline.Sub(arrived))
	}
	if text := header.Get(oip.HeaderLength); text != "" {
		spec.JSONBytes, _ = strconv.Atoi(text) // decode has read it
	}
	return spec, nil
}

// idempotencyKey reads the key by which a repeated submission is known.
func idempotencyKey(params oip.Parameters, header http.Header) (string, error) {
	key := header.Get("Idempotency-Key")
	if value, ok := params.Get("idempotency_key"); ok {
		if !value.IsString() || key != "" && key != value.Text() {
			return "", invalid("parameter idempotency_key is %v: it must be a string, and the same as the header Idempotency-Key if that is set", value)
		}
		key = value.Text()
	}
	if len(key) > keyBytesMax {
		return "", invalid("the idempotency key has %d bytes, more than %d", len(key), keyBytesMax)
	}
	return key, nil
}

func (a *API) listJobs(w http.ResponseWriter, r *http.Request, args arguments) error {
	list, err := a.cfg.Jobs.Jobs(r.PathValue("model"), a.client(r.Header, args.caller, r.RemoteAddr))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, oip.JobList{Jobs: list})
}

func (a *API) job(w http.ResponseWriter, r *http.Request, _ arguments) error {
	job, err := a.cfg.Jobs.Job(r.PathValue("model"), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, job)
}

func (a *API) cancelJob(w http.ResponseWriter, r *http.Request, _ arguments) error {
	job, err := a.cfg.Jobs.Cancel(r.Context(), r.PathValue("model"), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, job)
}

// jobResults sends a line for each item as soon as it is stored, and one for the end.
func (a *API) jobResults(w http.ResponseWriter, r *http.Request, _ arguments) error {
	from := 0
	if text := r.URL.Query().Get("from"); text != "" {
		var err error
		if from, err = strconv.Atoi(text); err != nil {
			return invalid("from=%.40s: it must be the number of an item", text)
		}
	}
	control, begun := http.NewResponseController(w), false
	write := func(lines []byte) error {
		if !begun {
			w.Header().Set("Content-Type", "application/x-ndjson")
			begun = true
		}
		if _, err := w.Write(lines); err != nil {
			return slo.E("", slo.KindCancelled, "%w", err)
		}
		_ = control.Flush() // a writer that cannot, as in tests, sends all at the end
		return nil
	}
	job, err := a.cfg.Jobs.Results(r.Context(), r.PathValue("model"), r.PathValue("id"), from, write)
	if err == nil {
		var last []byte
		if last, err = json.Marshal(oip.JobEnd{End: job}); err == nil {
			err = write(append(last, '\n'))
		}
	}
	if err != nil && begun {
		a.log.Debug("results of a job not sent", "path", r.URL.Path, "error", err)
		panic(http.ErrAbortHandler) // so that the client sees that they are not whole
	}
	return err
}

// jobsReady says whether jobs are accepted; inference may be ready while jobs are not.
func (a *API) jobsReady(w http.ResponseWriter, _ *http.Request, _ arguments) error {
	err := error(errJobsOff)
	if a.cfg.Jobs != nil {
		err = a.cfg.Jobs.Ready()
	}
	if err != nil {
		return writeJSON(w, http.StatusServiceUnavailable, oip.JobsReady{Reason: err.Error()})
	}
	return writeJSON(w, http.StatusOK, oip.JobsReady{Ready: true})
}
