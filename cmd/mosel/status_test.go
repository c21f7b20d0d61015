package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/status"
)

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

var statusNow = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// busyStatus is a server that has seen everything.
func busyStatus() status.Status {
	latency := func(n int, p50 float64) status.Latency {
		return status.Latency{Count: n, MeanMS: 1.2 * p50, P50MS: p50, P95MS: 4 * p50, P99MS: 12.5 * p50}
	}
	decision := func(batch uint64, ago time.Duration, state, why string) status.Decision {
		return status.Decision{Batch: batch, Started: statusNow.Add(-ago), Model: "digits", Version: "3", Variant: "image_text", Items: 16,
			PredictedMS: 12.3, MeasuredMS: 12.71, State: state, Why: why}
	}
	return status.Status{
		Server: status.Server{Name: "mosel", Version: "1.2.3", Policy: "mosel", Ready: true, Now: statusNow, UptimeS: 93_784, RecentS: 45.2},
		Queue: status.Queue{Items: 1234, Running: 48, Jobs: 96, Bytes: 13 << 20, ItemsMax: 200_000, JobsMax: 100_000, BytesMax: 1 << 30,
			ClientsTotal: 12, WaitingMS: 83.4},
		Models: []status.Model{{Name: "digits", Version: "3", Digest: "sha256:x", State: "ready", Detail: "version 4 was not loaded: onnx/all.onnx: the file is cut off",
			Modalities: []string{"image", "audio", "text"},
			Variants: []status.Variant{
				{Name: "text", Accuracy: 0.7935, ItemMS: 0.72, TimeScale: 0.98, Items: 120, RecentItems: 3},
				{Name: "image_text", Accuracy: 0.9885, ItemMS: 1.28, TimeScale: 0.96, Items: 56_000, RecentItems: 3811},
				{Name: "a_variant_with_a_name_that_is_longer_than_anybody_would_read", Accuracy: 0.972, ItemMS: 6.64, TimeScale: 1.61, Items: 0, Failures: 2},
				{Name: "all", Accuracy: 0.998, ItemMS: 112, TimeScale: 1, Items: 40_000, RecentItems: 6007}},
			QueuedItems: 1234, RunningItems: 48, UnfinishedJobs: 96,
			Jobs:    status.Outcomes{OnTime: 91_000, Late: 40, Shed: 2213, Infeasible: 2, Cancelled: 7, Failed: 1},
			Reasons: map[string]int{"too_busy": 1900, "yielded": 213, "queue_full": 100, "floor_impossible": 2, "client_cancelled": 7, "runtime_failed": 1},
			// 96 % of recent jobs are on time: a yellow share.
			Recent: status.Recent{Jobs: status.Outcomes{OnTime: 9600, Late: 30, Shed: 363, Failed: 7}, Accuracy: 0.9931, Queue: latency(9630, 3.35),
				Compute: latency(9630, 8.27), Total: latency(9630, 11.4), Batches: status.Batches{Count: 874, MeanItems: 11.24, MaxItems: 32}},
			Drift: &status.Drift{OnDrift: "replan", Changed: true, Reference: "all", Shadows: status.ShadowRuns{Share: 0.01, Ran: 5210, NoIdleTime: 12, TooMany: 3},
				Hints: []string{"confidence of image_text: 0.912 on average, 0.981 in the profile"}, Variants: []status.VariantDrift{
					{Name: "text", Profile: 0.7935, Planned: 0.7935},
					{Name: "image_text", Profile: 0.9885, Planned: 0.8123, Live: &status.Live{Items: 1890, Mean: 0.8301, Low: 0.8123, High: 0.8455}},
					{Name: "all", Profile: 0.998, Planned: 0.998, Live: &status.Live{Items: 90, Mean: 1, Low: 0.9591, High: 1}}}},
			Accuracy: 0.9917, Feedback: &status.Feedback{KeptItems: 56_120, KeptItemsMax: 1_000_000, KeepS: 86_400, Unknown: 17, Variants: []status.VariantFeedback{
				{Name: "image_text", Accepted: 1700, Sampled: status.Measured{Items: 1480, Accuracy: 0.827, Low: 0.804, High: 0.848, Promised: 0.9885},
					Selected: status.Measured{Items: 220, Accuracy: 0.4, Low: 0.3361, High: 0.4674, Promised: 0.9885}},
				{Name: "all", Sampled: status.Measured{Items: 90, Accuracy: 1, Low: 0.9591, High: 1, Promised: 0.998}}}}},
			{Name: "sentiment", Version: "1", State: "unavailable", Detail: "loading"},
			{Name: "fresh", Version: "1", State: "ready", Drift: &status.Drift{OnDrift: "report", Reference: "all", Shadows: status.ShadowRuns{Share: 0.1}}, Feedback: &status.Feedback{KeptItemsMax: 1000, KeepS: 3600}, Variants: []status.Variant{{Name: "all", Accuracy: 0.9, ItemMS: 5, TimeScale: 1}}}},
		Instances: []status.Instance{
			{ID: 0, Up: true, Slots: 1, BusyShare: 0.684, Running: []status.Running{{Batch: 9, Model: "digits", Version: "3", Variant: "all", Items: 6, ForMS: 15.2, PredictedMS: 22.7}}},
			{ID: 1, Up: true, BusyShare: 0.012}, {ID: 2, BusyShare: 0, Losses: 2}},
		Clients: []status.Client{{Name: "grader", Jobs: 40, Items: 1100}, {Jobs: 56, Items: 134}},
		Decisions: []status.Decision{
			decision(9, 15200*time.Microsecond, "running", "more accurate than the planned text (0.7935): 33 ms of slack, 2.53 ms reserved for expected jobs; no expected job would be late"),
			decision(8, 52*time.Millisecond, "done", "as planned, the cheapest that keeps the floors; all would be more accurate, but about 3.1 expected items would be late"),
			decision(7, 3*time.Second, "failed", "as planned, the cheapest that keeps the floors; nothing is more accurate"),
			decision(6, 75*time.Second, "lost", ""), decision(5, 3*time.Hour, "aborted", ""), decision(4, 4*time.Hour, "done", "is not shown")},
	}
}

func TestStatusPage(t *testing.T) {
	golden(t, "status.txt", statusPage(busyStatus(), 100, false))
	golden(t, "status-narrow.txt", statusPage(busyStatus(), 10, false))
	golden(t, "status-color.txt", statusPage(busyStatus(), 100, true))
	quiet := status.Status{Server: status.Server{Name: "mosel", Version: "1.2.3", Policy: "all", Draining: true, Now: statusNow}}
	golden(t, "status-quiet.txt", statusPage(quiet, 100, false))
}

// TestPagesFit checks that no line is wider than the page, whatever it is asked to show.
func TestPagesFit(t *testing.T) {
	for _, width := range []int{72, 80, 100, 120} {
		for line := range strings.Lines(statusPage(busyStatus(), width, false) + explanationPage(mixedJob(), width, false)) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d characters on a page of %d: %s", n, width, line)
			}
		}
	}
}

// TestPagesObeyNobody checks that what clients call themselves and their requests
// does not reach the terminal as orders.
func TestPagesObeyNobody(t *testing.T) {
	s, e := busyStatus(), mixedJob()
	s.Clients = []status.Client{{Name: "a\x1b[2Jb\n", Jobs: 1, Items: 1}}
	e.Request, e.Client = "\x1b]0;title\a", "c\rd\x9b2J"
	page := statusPage(s, 100, false) + explanationPage(e, 100, false)
	if strings.ContainsAny(page, "\x1b\a\r\u009b") || strings.Contains(page, "b\n ") || !strings.Contains(page, "a�[2Jb�") {
		t.Errorf("the page has orders:\n%q", page)
	}
}

// mixedJob is a job whose items ran on two variants.
func mixedJob() status.Explanation {
	ms := func(x float64) *float64 { return &x }
	return status.Explanation{Job: "j-ehhu6gkrahjnzawqyzyiuwfb4e", Request: "order-4711", Client: "grader", Model: "digits", Version: "3", Items: 10, Modalities: []string{"image", "text"},
		Floor: 0.95, DeadlineMS: ms(100), Late: "run", Arrived: statusNow, StartedMS: ms(0.51), EndedMS: ms(90), ComputeMS: 84.2, Outcome: "on_time", Reason: "none",
		Summary: "done after 90 ms, 10 ms before the deadline", Accuracy: ms(0.954), SlackMS: ms(10),
		Batches: []status.JobBatch{
			{Decision: status.Decision{Batch: 8, Variant: "image_text", Items: 9, PredictedMS: 34, MeasuredMS: 35.25, State: "done",
				Why: "as planned, the cheapest that keeps the floors; nothing is more accurate"}, StartedMS: 0.51, JobItems: 6},
			{Decision: status.Decision{Batch: 9, Variant: "text", Items: 4, PredictedMS: 5, State: "running",
				Why: "as planned, the cheapest that keeps the floors; image_text would be more accurate, but about 4.9 expected items would be late"},
				StartedMS: 40, JobItems: 4, Options: []status.Option{
					{Variant: "text", Items: 4, Accuracy: 0.9, PredictedMS: 5, LateItems: 0.35, Chosen: true},
					{Variant: "image_text", Items: 4, Accuracy: 0.99, PredictedMS: 34, LateItems: 4.9}}}},
		BatchesLeftOut: 2,
		Alternatives: []status.Alternative{
			{Variant: "text", Accuracy: 0.9, Runnable: true, PredictedMS: 15.7, Items: 4, Why: "ran 4 of 10 items: below the floor by itself; the others raise the mean to it at less cost"},
			{Variant: "image", Accuracy: 0.85, Runnable: true, PredictedMS: 36, Why: "text is no less accurate and takes no longer"},
			{Variant: "image_text", Accuracy: 0.99, Runnable: true, MeetsFloor: true, PredictedMS: 86.1, Items: 6, Why: "ran 6 of 10 items: raises the mean of all items to the floor"},
			{Variant: "all", Accuracy: 0.998, MeetsFloor: true, PredictedMS: 1120, Why: "needs audio, which the job does not carry"}}}
}

// sharedID are requests that have one id.
func sharedID() status.Requests {
	return status.Requests{ClientID: "2", Total: 23, Requests: []status.Request{
		{Job: mixedJob().Job, Client: "grader", Model: "digits", Version: "3", Items: 10, Arrived: statusNow, Outcome: "on_time"},
		{Job: "j-7nqbuvpzrq4vezlsbqbk5lhwqy", Model: "digits", Version: "3", Items: 1, Arrived: statusNow, Outcome: "queued"}}}
}

func TestRequestsPage(t *testing.T) { golden(t, "requests.txt", requestsPage(sharedID(), 100, false)) }

func TestExplanationPage(t *testing.T) {
	golden(t, "explain.txt", explanationPage(mixedJob(), 100, false))
	golden(t, "explain-color.txt", explanationPage(mixedJob(), 100, true))
	best, retry := 0.94, 9.2
	refused := status.Explanation{Job: "j-7nqbuvpzrq4vezlsbqbk5lhwqy", Model: "digits", Version: "3", Items: 1, Choice: []string{"audio"}, Late: "drop", Arrived: statusNow, Outcome: "shed",
		Reason: "queue_full", Summary: "the queue was full", Best: &best, RetryAfterMS: &retry}
	golden(t, "explain-refused.txt", explanationPage(refused, 100, false))
}

// telling is a server that tells of itself.
func telling(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, code := any(map[string]string{"error": "not known"}), http.StatusNotFound
		switch {
		case r.Header.Get("Authorization") == "Bearer wrong":
			answer, code = map[string]string{"error": "this needs the role admin"}, http.StatusForbidden
		case r.URL.Path == "/v1/status":
			answer, code = busyStatus(), http.StatusOK
		case r.URL.Path == "/v1/explain/"+mixedJob().Job:
			answer, code = mixedJob(), http.StatusOK
		case r.URL.RequestURI() == "/v1/explain?client_id=order-4711":
			answer, code = status.Requests{ClientID: "order-4711", Total: 1, Requests: sharedID().Requests[:1]}, http.StatusOK
		case r.URL.RequestURI() == "/v1/explain?client_id=2":
			answer, code = sharedID(), http.StatusOK
		case r.URL.Path == "/v1/explain/broken":
			answer, code = map[string]string{"error": "it broke"}, http.StatusInternalServerError
		}
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestStaleTokensAreShown: withdrawn tokens that still work are worth a line.
func TestStaleTokensAreShown(t *testing.T) {
	s := busyStatus()
	s.Server.TokensStale = "tokens.yaml:2:1: not YAML"
	if page := statusPage(s, 100, false); !strings.Contains(page, "the tokens file was not read again, older tokens are in use: tokens.yaml:2:1: not YAML") {
		t.Error(page)
	}
}

func TestStatusAndExplain(t *testing.T) {
	addr := telling(t)
	if out, err := command(t, "status", "--addr", addr); err != nil || out != statusPage(busyStatus(), pageWidthDefault, false) {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := command(t, "explain", "--client-id", "2", "--addr", addr); err != nil || out != requestsPage(sharedID(), pageWidthDefault, false) {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := command(t, "explain", mixedJob().Job, "--addr", addr); err != nil || out != explanationPage(mixedJob(), pageWidthDefault, false) {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := command(t, "explain", "--client-id", "order-4711", "--addr", addr); err != nil || out != explanationPage(mixedJob(), pageWidthDefault, false) {
		t.Errorf("%v: %s", err, out)
	}
	var s status.Status
	out, err := command(t, "status", "--addr", addr, "--json")
	if err != nil || json.Unmarshal([]byte(out), &s) != nil || len(s.Models) != 3 || s.Models[0].Recent.Jobs.OnTime != 9600 {
		t.Errorf("%v: %s", err, out)
	}
	var e status.Explanation
	out, err = command(t, "explain", "--client-id", "order-4711", "--addr", addr, "--json")
	if err != nil || json.Unmarshal([]byte(out), &e) != nil || e.Job != mixedJob().Job || len(e.Alternatives) != 4 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestStatusAndExplainMistakes(t *testing.T) {
	addr := telling(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	l.Close()
	for _, tt := range []struct {
		args  []string
		token string
		want  string
		usage bool
	}{
		{[]string{"status", "--addr", nobody}, "", "Start one with 'mosel serve'", false},
		{[]string{"explain", "1", "--addr", nobody}, "", "Start one with 'mosel serve'", false},
		{[]string{"status", "--addr", addr}, "wrong", "MOSEL_TOKEN", false},
		{[]string{"explain", "1", "--addr", addr}, "wrong", "MOSEL_TOKEN", false},
		{[]string{"explain", "18", "--addr", addr}, "", "does not know this request", false},
		{[]string{"explain", "--client-id", "18", "--addr", addr}, "", "does not know this request", false},
		{[]string{"explain", "--client-id", "", "--addr", addr}, "", "give one request", true},
		{[]string{"explain", "1", "--client-id", "2", "--addr", addr}, "", "give one request", true},
		{[]string{"explain", "broken", "--addr", addr}, "", "it broke", false},
		{[]string{"explain", "--addr", addr}, "", "give one request", true},
		{[]string{"explain", "1", "--addr", "ftp://x"}, "", "ftp", true},
		{[]string{"status", "--watch", "--json"}, "", "cannot be used together", true},
	} {
		t.Setenv(tokenVariable, tt.token)
		out, err := command(t, tt.args...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.As(err, new(usageError)) != tt.usage || out != "" {
			t.Errorf("%v: %v, want %q\n%s", tt.args, err, tt.want, out)
		}
	}
}

// TestWatch checks that a page comes every second until the user has seen enough,
// and that a server which is away for a moment does not end it.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var out strings.Builder
		pages := 0
		err := watch(ctx, &out, func(context.Context) (string, error) {
			switch pages++; pages {
			case 2:
				return "", errors.New("no server there")
			case 4:
				cancel()
			}
			return "page\n", nil
		})
		if err != nil || out.String() != "page\nno server there\npage\n" || time.Since(began) != 3*watchEvery {
			t.Errorf("%v after %v: %q", err, time.Since(began), out.String())
		}
	})
}
