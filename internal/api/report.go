package api

import (
	"net/http"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/repository"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/status"
)

// status answers with the state of the server.
func (a *API) status(w http.ResponseWriter, _ *http.Request, args arguments) error {
	s, err := a.currentStatus(args)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, s)
}

// currentStatus returns the state of the server.
func (a *API) currentStatus(args arguments) (status.Status, error) {
	s, ok := args.engine.Status()
	if !ok {
		return s, slo.E("", slo.KindUnavailable, "the server has shut down")
	}
	s.Server.Name, s.Server.Version = a.describeServer().Name, a.cfg.Version
	s.Server.TokensStale = a.guard.TokensStale()
	s.Server.Ready = a.ready()
	a.addFeedback(&s, args.engine)
	for _, e := range args.models.Index() {
		if e.State != repository.Ready {
			s.Models = append(s.Models, status.Model{Name: e.Name, Version: e.Version, State: "unavailable", Detail: e.Reason,
				Modalities: []string{}, Variants: []status.Variant{}})
			continue
		}
		for i := range s.Models {
			if s.Models[i].Name == e.Name && s.Models[i].Version == e.Version {
				s.Models[i].Detail = e.Reason
			}
		}
	}
	return s, nil
}

// explain answers with what one request asked for, what it ran on, and why.
func (*API) explain(w http.ResponseWriter, r *http.Request, args arguments) error {
	x, err := args.engine.Explain(r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, x)
}

// requests lists the jobs with a client's id; several may have the same id.
func (*API) requests(w http.ResponseWriter, r *http.Request, args arguments) error {
	ids := r.URL.Query()["client_id"]
	if len(ids) != 1 || ids[0] == "" {
		return slo.E("", slo.KindInvalid, "name a request: by the server's id as /v1/explain/ID, or by the client's id as /v1/explain?client_id=ID")
	}
	list := args.engine.Requests(ids[0])
	if list.Total == 0 {
		return slo.E("", slo.KindNotFound, "no request with the client's id %.80q is known: the server knows unfinished requests and the latest finished ones", ids[0])
	}
	return writeJSON(w, http.StatusOK, list)
}

// statistics returns the statistics of one version of a model, of all its versions, or,
// without a name, of all models.
func (b *backend) statistics(name, version string) (oip.Statistics, error) {
	answer := oip.Statistics{ModelStats: []oip.ModelStatistics{}}
	if name != "" {
		l, err := b.engine.Use(name, version)
		if err != nil {
			return answer, err
		}
		l.Release()
	}
	for _, s := range b.engine.List() {
		if name != "" && s.Model.Name != name || version != "" && s.Model.Version != version {
			continue
		}
		l, err := b.engine.Use(s.Model.Name, s.Model.Version)
		if err != nil {
			continue // removed after List
		}
		answer.ModelStats = append(answer.ModelStats, modelStatistics(l))
		l.Release()
	}
	return answer, nil
}

// modelStatistics converts the engine's statistics to Triton's form. Gathering inputs
// and copying outputs are part of a run and not timed separately, so they have counts
// but no times.
func modelStatistics(l engine.Lease) oip.ModelStatistics {
	s := l.Statistics()
	tally := func(t obs.Tally) oip.StatisticDuration {
		return oip.StatisticDuration{Count: uint64(t.Count), NS: uint64(t.Time)}
	}
	copies := oip.StatisticDuration{Count: uint64(s.Compute.Count)}
	m := oip.ModelStatistics{Name: l.Model.Name, Version: l.Model.Version,
		InferenceCount: uint64(s.Inferences), ExecutionCount: uint64(s.Executions),
		InferenceStats: oip.InferStatistics{Success: tally(s.Success), Fail: tally(s.Fail), Queue: tally(s.Queue),
			ComputeInput: copies, ComputeInfer: tally(s.Compute), ComputeOutput: copies},
		BatchStats: []oip.BatchStatistics{}}
	if !s.LastInference.IsZero() {
		m.LastInference = uint64(s.LastInference.UnixMilli())
	}
	for _, e := range s.Batches {
		copies := oip.StatisticDuration{Count: uint64(e.Count)}
		m.BatchStats = append(m.BatchStats, oip.BatchStatistics{BatchSize: uint64(e.Items),
			ComputeInput: copies, ComputeInfer: tally(e.Tally), ComputeOutput: copies})
	}
	return m
}

func (*API) stats(w http.ResponseWriter, r *http.Request, args arguments) error {
	answer, err := args.statistics(r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

// described answers with what a model's profile says.
func (*API) described(w http.ResponseWriter, r *http.Request, args arguments) error {
	l, err := args.engine.Use(r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	defer l.Release()
	return writeJSON(w, http.StatusOK, l.Plan())
}
