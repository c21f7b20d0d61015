package conformance_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

// duration is the number of some operations, and their total time.
type duration struct {
	Count *uint64 `json:"count"`
	NS    *uint64 `json:"ns"`
}

// modelStats is the part of a model's statistics that perf_analyzer reads.
type modelStats struct {
	Name           string  `json:"name"`
	Version        string  `json:"version"`
	LastInference  *uint64 `json:"last_inference"`
	InferenceCount *uint64 `json:"inference_count"`
	ExecutionCount *uint64 `json:"execution_count"`
	InferenceStats struct {
		Success       duration `json:"success"`
		Fail          duration `json:"fail"`
		Queue         duration `json:"queue"`
		ComputeInput  duration `json:"compute_input"`
		ComputeInfer  duration `json:"compute_infer"`
		ComputeOutput duration `json:"compute_output"`
		CacheHit      duration `json:"cache_hit"`
		CacheMiss     duration `json:"cache_miss"`
	} `json:"inference_stats"`
	BatchStats []struct {
		BatchSize     uint64   `json:"batch_size"`
		ComputeInput  duration `json:"compute_input"`
		ComputeInfer  duration `json:"compute_infer"`
		ComputeOutput duration `json:"compute_output"`
	} `json:"batch_stats"`
}

// stats reads the statistics of a resource.
func (s *target) stats(t *testing.T, path string) []modelStats {
	t.Helper()
	var body struct {
		ModelStats []modelStats `json:"model_stats"`
	}
	s.get(t, path).into(t, &body)
	if body.ModelStats == nil {
		t.Fatalf("%s: model_stats is no array", path)
	}
	return body.ModelStats
}

// stats reads the model's statistics and checks that all fields are there.
func (m *model) stats(t *testing.T) modelStats {
	t.Helper()
	list := m.server.stats(t, m.path("/stats"))
	if len(list) != 1 || list[0].Name != m.Name {
		t.Fatalf("the statistics of %s are %+v", m.Name, list)
	}
	st := list[0]
	if st.InferenceCount == nil || st.ExecutionCount == nil || st.LastInference == nil {
		t.Fatalf("inference_count, execution_count or last_inference is missing: %+v", st)
	}
	for name, d := range map[string]duration{"success": st.InferenceStats.Success, "fail": st.InferenceStats.Fail, "queue": st.InferenceStats.Queue,
		"compute_input": st.InferenceStats.ComputeInput, "compute_infer": st.InferenceStats.ComputeInfer, "compute_output": st.InferenceStats.ComputeOutput,
		"cache_hit": st.InferenceStats.CacheHit, "cache_miss": st.InferenceStats.CacheMiss} { // perf_analyzer reads these without checking that they exist
		if d.Count == nil || d.NS == nil {
			t.Fatalf("inference_stats.%s has no count or no ns: %+v", name, st.InferenceStats)
		}
	}
	if st.BatchStats == nil {
		t.Fatalf("batch_stats is no array: %+v", st)
	}
	for _, b := range st.BatchStats {
		if b.BatchSize == 0 || b.ComputeInfer.Count == nil || b.ComputeInput.Count == nil || b.ComputeOutput.Count == nil {
			t.Fatalf("an element of batch_stats lacks a field: %+v", b)
		}
	}
	return st
}

// settleTimeout is how long a server may take to count its answers, or to reach a state
// that a test waits for: far more than a busy machine needs.
const settleTimeout = 10 * time.Second

// settled reads the statistics until that many more requests have succeeded.
func (m *model) settled(t *testing.T, before modelStats, requests uint64) modelStats {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleTimeout)
	defer cancel()
	for {
		after := m.stats(t)
		if *after.InferenceStats.Success.Count >= *before.InferenceStats.Success.Count+requests || ctx.Err() != nil {
			return after
		}
	}
}

// runsMax is how many batches an item may run in: mosel's cascades run an item again if
// the first answer is not sure.
func (s *target) runsMax() uint64 {
	if s.mosel {
		return 2
	}
	return 1
}

func TestStatisticsCountWhatWasSent(t *testing.T) {
	subject.needs(t, "statistics")
	eachModel(t, func(t *testing.T, m *model) {
		items, requests := uint64(1), uint64(5)
		if m.batched() && m.batchMax() > 2 {
			items = 3
		}
		before, sent := m.stats(t), time.Now()
		for range requests {
			m.result(t, m.infer(t, m.ask(int64(items))))
		}
		after := m.settled(t, before, requests)
		was, is := before.InferenceStats, after.InferenceStats
		for name, pair := range map[string][2]duration{"success": {was.Success, is.Success}, "queue": {was.Queue, is.Queue},
			"compute_input": {was.ComputeInput, is.ComputeInput}, "compute_infer": {was.ComputeInfer, is.ComputeInfer}, "compute_output": {was.ComputeOutput, is.ComputeOutput}} {
			if got := *pair[1].Count - *pair[0].Count; got != requests {
				t.Errorf("%s.count went up by %d, %d requests were sent", name, got, requests)
			}
			if *pair[1].NS < *pair[0].NS {
				t.Errorf("%s.ns went down", name)
			}
		}
		if *is.Success.NS == *was.Success.NS {
			t.Error("success.ns has not changed, requests take time")
		}
		if *is.Fail.Count != *was.Fail.Count {
			t.Errorf("fail.count went up by %d, nothing failed", *is.Fail.Count-*was.Fail.Count)
		}
		if got := *after.InferenceCount - *before.InferenceCount; got != requests*items {
			t.Errorf("inference_count went up by %d, %d requests of %d items were sent", got, requests, items)
		}
		if got := *after.ExecutionCount - *before.ExecutionCount; got < 1 || got > requests*items*m.server.runsMax() {
			t.Errorf("execution_count went up by %d for %d items", got, requests*items)
		}
		if at := time.UnixMilli(int64(*after.LastInference)); at.Before(sent.Add(-time.Minute)) || at.After(time.Now().Add(time.Minute)) {
			t.Errorf("last_inference is %v", at)
		}
		batches := uint64(0)
		for _, b := range after.BatchStats {
			batches += b.BatchSize * *b.ComputeInfer.Count
		}
		m.server.needsStrict(t)
		if n := *after.InferenceCount; batches < n || batches > n*m.server.runsMax() {
			t.Errorf("the batches of batch_stats have %d items, inference_count is %d", batches, n)
		}
	})
}

func TestStatisticsOfWhatFailsAreApart(t *testing.T) {
	subject.needs(t, "statistics")
	m := subject.models[0]
	before := m.stats(t)
	m.inferText(t, "{").refused(t, http.StatusBadRequest)
	if after := m.stats(t); *after.InferenceStats.Success.Count != *before.InferenceStats.Success.Count || *after.InferenceCount != *before.InferenceCount {
		t.Errorf("a request that was refused counts as a success: %+v, before it %+v", after, before)
	}
}

func TestStatisticsOfAllModels(t *testing.T) {
	subject.needs(t, "statistics")
	list := subject.stats(t, "/v2/models/stats")
	for _, m := range subject.models {
		at := slices.IndexFunc(list, func(st modelStats) bool { return st.Name == m.Name })
		if at < 0 {
			t.Errorf("%s is missing", m.Name)
			continue
		}
		if m.version() == "" {
			continue
		}
		if list[at].Version != m.version() {
			t.Errorf("%s has version %q, want %q", m.Name, list[at].Version, m.version())
		}
		own := m.server.stats(t, m.path("/versions/"+url.PathEscape(m.version())+"/stats"))
		if len(own) != 1 || own[0].Name != m.Name || own[0].Version != m.version() || own[0].InferenceCount == nil || *own[0].InferenceCount != *list[at].InferenceCount {
			t.Errorf("the statistics of version %s are %+v, among those of all models %+v", m.version(), own, list[at])
		}
	}
}
