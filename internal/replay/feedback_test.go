package replay

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/oip"
)

// TestLabelsAreBroughtBack labels a fifth of the answers, the same ones each time.
func TestLabelsAreBroughtBack(t *testing.T) {
	samples := parity(t, 500)
	run := func(seed uint64, status int) (ids []string, accepted int, err error) {
		answers := oracle(t, nil)
		var mu sync.Mutex
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/feedback") {
				answers.Config.Handler.ServeHTTP(w, r)
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			records, err := oip.DecodeFeedback(body)
			if err != nil || r.URL.Path != "/v2/models/parity/feedback" {
				t.Errorf("%s: %v", r.URL.Path, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, record := range records {
				ids = append(ids, record.ID)
				sample, err := strconv.Atoi(strings.TrimPrefix(record.ID, "j-"))
				if err != nil || !record.Sampled || len(record.Labels) != 1 || record.Labels[0].Numbers[0] != float64(sample%2) {
					t.Errorf("%+v: %v", record, err)
				}
			}
			if status != http.StatusOK {
				http.Error(w, `{"error":"this server keeps no answers"}`, status)
				return
			}
			if err := json.NewEncoder(w).Encode(oip.FeedbackResult{Accepted: len(records)}); err != nil {
				t.Error(err)
			}
		}))
		defer server.Close()
		target, err := NewTarget(server.URL, samples, 8)
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		labeller, err := target.Label(t.Context(), 0.2, seed)
		if err != nil {
			t.Fatal(err)
		}
		jobs := mustJobs(t, load(Constant, 5000, 100*time.Millisecond), samples.Len())
		Run(t.Context(), jobs, target.Send, Options{Concurrency: 8, Grace: GraceDefault})
		accepted, err = labeller.Close()
		mu.Lock()
		defer mu.Unlock()
		return ids, accepted, err
	}
	checkLabelled(t, run)
}

// checkLabelled checks what a run with a seed, against a server that answers with a status,
// labels.
func checkLabelled(t *testing.T, run func(seed uint64, status int) (ids []string, accepted int, err error)) {
	t.Helper()
	ids, accepted, err := run(1, http.StatusOK)
	if err != nil || accepted != len(ids) || accepted < 60 || accepted > 140 {
		t.Fatalf("%d of 500 answers were labelled, %d taken: %v", len(ids), accepted, err)
	}
	seen := map[string]bool{}
	for _, id := range ids {
		seen[id] = true
	}
	again, _, err := run(1, http.StatusOK)
	if err != nil || len(again) != len(ids) {
		t.Errorf("the same seed labels %d and %d answers: %v", len(ids), len(again), err)
	}
	for _, id := range again {
		if !seen[id] {
			t.Errorf("the same seed labels %s too", id)
		}
	}
	if _, _, err := run(1, http.StatusNotImplemented); err == nil || !strings.Contains(err.Error(), "keeps no answers") {
		t.Errorf("a server without labels: %v", err)
	}
}

// TestNothingToLabel checks a metric without labels, and a target that labels nothing.
func TestNothingToLabel(t *testing.T) {
	samples := senses(t, 12)
	samples.Model.Scoring = mustMetric(t, "external")
	target, err := NewTarget("http://127.0.0.1:1", samples, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if _, err := target.Label(t.Context(), 0.1, 1); err == nil {
		t.Error("samples without labels are labelled")
	}
	var none *Labeller
	if n, err := none.Close(); n != 0 || err != nil {
		t.Error(n, err)
	}
}
