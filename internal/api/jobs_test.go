package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/mosel-serve/mosel/internal/jobs"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// memory is a store of jobs for tests.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
	broken bool
}

var errBroken = errors.New("the disk is broken")

func (m *memory) do(op func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return errBroken
	}
	return op()
}

func (m *memory) Create(_ context.Context, key string, value []byte) error {
	return m.do(func() error {
		if _, ok := m.values[key]; ok {
			return jobs.ErrExists
		}
		m.values[key] = slices.Clone(value)
		return nil
	})
}

func (m *memory) Get(_ context.Context, key string) (value []byte, err error) {
	err = m.do(func() error {
		var ok bool
		if value, ok = m.values[key]; !ok {
			return jobs.ErrNotFound
		}
		return nil
	})
	return value, err
}

func (m *memory) List(_ context.Context, prefix string) (keys []string, err error) {
	err = m.do(func() error {
		for key := range m.values {
			if strings.HasPrefix(key, prefix+".") {
				keys = append(keys, key)
			}
		}
		return nil
	})
	return keys, err
}

func (m *memory) Delete(ctx context.Context, prefix string) error {
	keys, err := m.List(ctx, prefix)
	if err != nil {
		return err
	}
	return m.do(func() error {
		for _, key := range append(keys, prefix) {
			delete(m.values, key)
		}
		return nil
	})
}

func (m *memory) Close() {}

// withJobs runs a test with an API that keeps jobs.
func withJobs(t *testing.T, s setup, test func(f fixture, store *memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := &memory{values: map[string][]byte{}}
		cfg := jobs.DefaultConfig()
		cfg.Open = func(context.Context) (jobs.Store, error) { return store, store.do(func() error { return nil }) }
		m := jobs.New(cfg)
		s.config, s.queueJobs = func(c *Config) { c.Jobs = m }, 100
		a, e := startAPI(t, s)
		if err := m.Start(t.Context(), a.JobRunner()); err != nil {
			t.Fatal(err)
		}
		test(fixture{t, a.REST(), e}, store)
		m.Close()
		if err := e.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

const jobsPath = "/v2/models/scene/jobs"

// imageItems is the input of n items.
func imageItems(n int) string {
	data := strings.TrimSuffix(strings.Repeat("1,2,3,4,", n), ",")
	return fmt.Sprintf(`{"name":"image","shape":[%d,2,2],"datatype":"UINT8","data":[%s]}`, n, data)
}

// job decodes a job.
func (f fixture) job(body []byte) (job oip.Job) {
	f.Helper()
	if err := json.Unmarshal(body, &job); err != nil {
		f.Fatalf("%s: %v", body, err)
	}
	return job
}

// TestJobs follows a job from its submission to its results.
func TestJobs(t *testing.T) {
	withJobs(t, setup{}, func(f fixture, _ *memory) {
		const items = 40
		w := f.call("POST", jobsPath, ask(`"min_accuracy":0.5,"deadline_ms":60000,"late":"run"`, imageItems(items)), "Idempotency-Key: k")
		job := f.job(w.Body.Bytes())
		if w.Code != http.StatusAccepted || w.Header().Get("Location") != jobsPath+"/"+job.ID || job.Items != items || job.MinAccuracy != 0.5 || job.Late != "run" ||
			job.Deadline.Sub(job.Submitted).Seconds() != 60 {
			t.Errorf("submitted: %d %s %v", w.Code, w.Body, w.Header())
		}
		again := f.call("POST", jobsPath, ask(`"min_accuracy":0.5,"deadline_ms":60000,"late":"run"`, imageItems(items)), "Idempotency-Key: k")
		if again.Code != http.StatusOK || f.job(again.Body.Bytes()).ID != job.ID {
			t.Errorf("submitted again: %d %s", again.Code, again.Body)
		}
		w = f.call("GET", jobsPath+"/"+job.ID+"/results", "")
		lines := strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
		if w.Code != http.StatusOK || len(lines) != items+1 || w.Header().Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("results: %d, %d lines", w.Code, len(lines))
		}
		var direct oip.Response
		if err := direct.Decode(f.call("POST", inferPath, ask(``, imageJSON)).Body.Bytes(), oip.AllJSON, oip.DefaultLimits()); err != nil {
			t.Fatal(err)
		}
		for i, line := range lines[:items] {
			var answer oip.Response
			err := answer.Decode([]byte(line), oip.AllJSON, oip.DefaultLimits())
			item, _ := answer.Parameters.Get("item")
			variant, _ := answer.Parameters.Get("variant")
			if err != nil || item.Text() != fmt.Sprint(i) || variant.Text() == "" || !reflect.DeepEqual(answer.Outputs, direct.Outputs) {
				t.Errorf("line %d: %s, %v; direct %v", i, line, err, direct.Outputs)
			}
		}
		var last oip.JobEnd
		if err := json.Unmarshal([]byte(lines[items]), &last); err != nil || last.End.State != jobs.StateCompleted || last.End.Done != items || last.End.ExpectedAccuracy < 0.5 {
			t.Errorf("the end: %s, %v", lines[items], err)
		}
		var list oip.JobList
		if err := json.Unmarshal(f.call("GET", jobsPath, "").Body.Bytes(), &list); err != nil || len(list.Jobs) != 1 || list.Jobs[0].ID != job.ID {
			t.Errorf("list: %+v, %v", list, err)
		}
		if w := f.call("GET", jobsPath+"/"+job.ID+"/results?from=39", ""); strings.Count(w.Body.String(), "\n") != 2 {
			t.Errorf("results from the last item: %s", w.Body)
		}
	})
}

// TestJobErrors checks what is refused.
func TestJobErrors(t *testing.T) {
	withJobs(t, setup{}, func(f fixture, store *memory) {
		job := f.job(f.call("POST", jobsPath, ask(``, imageItems(3)), "Idempotency-Key: k").Body.Bytes())
		path := jobsPath + "/" + job.ID
		for _, c := range []struct {
			method, path, body string
			status             int
		}{
			{"POST", jobsPath, ask(`"min_accuracy":97`, imageItems(3)), 400},
			{"POST", jobsPath, `{"inputs":[]}`, 400},
			{"POST", jobsPath, ask(`"min_accuracy":0.9999`, imageItems(3)), 422},
			{"POST", jobsPath, ask(`"min_accuracy":0.9999,"accuracy_confidence":0.95`, imageItems(3)), 422},
			{"POST", jobsPath, ask(`"idempotency_key":"k"`, imageItems(4)), 400},
			{"POST", jobsPath, ask(`"idempotency_key":7`, imageItems(4)), 400},
			{"POST", "/v2/models/none/jobs", ask(``, imageItems(3)), 404},
			{"GET", jobsPath + "/job-none", "", 404},
			{"GET", "/v2/models/single/jobs/" + job.ID, "", 404},
			{"GET", path + "/results?from=x", "", 400},
			{"GET", path + "/results?from=4", "", 400},
			{"DELETE", path, "", 200},
			{"GET", "/v2/health/jobs", "", 200},
		} {
			if w := f.call(c.method, c.path, c.body); w.Code != c.status {
				t.Errorf("%s %s: %d %s, want %d", c.method, c.path, w.Code, w.Body, c.status)
			}
		}
		const impossible = `"min_accuracy":0.9999`
		if job, request := f.call("POST", jobsPath, ask(impossible, imageJSON)), f.call("POST", inferPath, ask(impossible, imageJSON)); job.Code != request.Code ||
			!strings.Contains(job.Body.String(), "the best is ") || strings.Contains(job.Body.String(), `"best_accuracy"`) != strings.Contains(request.Body.String(), `"best_accuracy"`) {
			t.Errorf("an impossible floor: %s; of a request: %s", job.Body, request.Body)
		}
		store.mu.Lock()
		store.broken = true
		store.mu.Unlock()
		f.call("POST", jobsPath, ask(``, imageItems(3))) // by which the broken store is noticed
		synctest.Wait()
		for at, status := range map[string]int{"/v2/health/jobs": 503, path: 503, "/v2/health/ready": 200} {
			if w := f.call("GET", at, ""); w.Code != status {
				t.Errorf("with a broken store %s: %d %s, want %d", at, w.Code, w.Body, status)
			}
		}
		if w := f.call("POST", inferPath, ask(``, imageJSON)); w.Code != http.StatusOK {
			t.Errorf("with a broken store an inference: %d %s", w.Code, w.Body)
		}
	})
}

// TestJobFails checks the end of a job whose model fails.
func TestJobFails(t *testing.T) {
	fail := func(fake.Run) error { return errors.New("the graph is broken") }
	withJobs(t, setup{fail: fail}, func(f fixture, _ *memory) {
		job := f.job(f.call("POST", jobsPath, ask(``, imageItems(3))).Body.Bytes())
		w := f.call("GET", jobsPath+"/"+job.ID+"/results", "")
		if !strings.Contains(w.Body.String(), `"state":"failed","reason":"`) {
			t.Errorf("the job ended as %s", w.Body)
		}
	})
}

// TestCut checks runs of items that carry the same, for a chunk of them.
func TestCut(t *testing.T) {
	runs := []slo.Carried{{Items: 3, Present: 1}, {Items: 1, Present: 2}, {Items: 4, Present: 3}}
	for _, c := range []struct {
		first, n int
		want     []slo.Carried
	}{
		{0, 8, runs}, {0, 2, []slo.Carried{{Items: 2, Present: 1}}}, {2, 3, []slo.Carried{{Items: 1, Present: 1}, {Items: 1, Present: 2}, {Items: 1, Present: 3}}},
		{6, 2, []slo.Carried{{Items: 2, Present: 3}}},
	} {
		if got := cut(runs, c.first, c.n); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%d items from %d: %v, want %v", c.n, c.first, got, c.want)
		}
	}
}
