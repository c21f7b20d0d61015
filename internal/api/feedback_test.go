package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/feedback"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
	"github.com/mosel-serve/mosel/status"
)

const feedbackPath = "/v2/models/scene/feedback"

// learning is a setup that takes feedback.
func learning(told *[]feedback.Evidence) setup {
	return setup{config: func(c *Config) {
		c.Feedback = feedback.New(feedback.Config{Keep: time.Hour, ItemsMax: 100, Sink: func(e []feedback.Evidence) {
			if told != nil {
				*told = append(*told, e...)
			}
		}})
	}}
}

// local sends a request as a program on this machine does.
func (f fixture) local(method, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(f.Context(), method, path, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost:8000"
	return send(f, r)
}

func TestFeedback(t *testing.T) {
	var told []feedback.Evidence
	with(t, learning(&told), func(f fixture) {
		two := strings.NewReplacer("[1,2,2]", "[2,2,2]", "[[1,2],[3,4]]", "[1,2,3,4,5,6,7,8]").Replace(imageJSON)
		f.call("POST", inferPath, `{"id":"first","inputs":[`+two+`],"outputs":[{"name":"half"}]}`) // the first output is not requested
		job := f.call("POST", inferPath, ask(`"modalities":"image,audio,text"`, imageJSON, audioJSON, textJSON)).Header().Get(oip.HeaderJob)
		give := func(body, want string) {
			t.Helper()
			if w := f.call("POST", feedbackPath, body); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != want {
				t.Errorf("%s: %d %s, want %s", body, w.Code, w.Body, want)
			}
		}
		give(`{"id":"first","labels":[0,null],"sampled":true}`, `{"accepted":1,"duplicate":0,"unknown":0,"unanswered":0}`)
		give(`{"feedback":[{"id":"first","labels":["day","night"]},{"id":"`+job+`","scores":[0.5]},{"id":"none","labels":[1]}]}`,
			`{"accepted":2,"duplicate":1,"unknown":1,"unanswered":0,"unknown_ids":["none"]}`)
		if len(told) != 3 || told[0].Model != "scene" || told[0].Version != "3" || !told[0].Sampled || told[1].Sampled || told[2].Of != "all" || told[2].Score != 0.5 {
			t.Errorf("told %+v", told)
		}
		var report status.Feedback
		w := f.local("GET", "/v2/models/scene/versions/3/feedback")
		if err := json.Unmarshal(w.Body.Bytes(), &report); err != nil || w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body, err)
		}
		if len(report.Variants) != 2 || report.KeptItems != 3 || report.Unknown != 1 || report.Metric != "accuracy" || report.Variants[0].Name != "image" ||
			report.Variants[0].Sampled.Promised != 0.75 || report.Variants[1].Name != "all" || report.Variants[1].Selected.Accuracy != 0.5 || report.Variants[1].Selected.Promised != 0.98 {
			t.Errorf("report %+v", report)
		}
		var s status.Status
		if err := json.Unmarshal(f.local("GET", "/v1/status").Body.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		for _, m := range s.Models {
			if m.Feedback == nil || (m.Name == "scene") != (len(m.Feedback.Variants) == 2) {
				t.Errorf("status of %s: %+v", m.Name, m.Feedback)
			}
		}
	})
}

// TestFeedbackErrors checks what is refused, and that nothing of such a call counts.
func TestFeedbackErrors(t *testing.T) {
	with(t, learning(nil), func(f fixture) {
		f.call("POST", inferPath, `{"id":"a","inputs":[`+imageJSON+`]}`)
		for _, c := range []struct {
			path, body string
			status     int
			want       string
		}{
			{feedbackPath, ``, 400, "it ends before its JSON does"},
			{feedbackPath, `{"id":"a","label":[1]}`, 400, `unknown field \"label\"`},
			{feedbackPath, `{"id":"a","labels":[1,0]}`, 400, `request \"a\" has 1 items, and 2 labels or scores were given`},
			{feedbackPath, `{"id":"a","labels":[2]}`, 400, "item 0: the label is 2; the model has the classes 0 to 1"},
			{feedbackPath, `{"id":"a","labels":["dusk"]}`, 400, `the label is \"dusk\", which is none of the classes`},
			{feedbackPath, `{"id":"a","scores":[1.5]}`, 400, "the score of item 0 is 1.5; it must be between 0 and 1"},
			{feedbackPath, `{"feedback":[{"id":"a","labels":[1]},{"id":"a","labels":[9]}]}`, 400, "record 1: item 0: the label is 9"},
			{feedbackPath, `{"feedback":[` + strings.Repeat(" ", feedbackBytesMax) + `]}`, 413, fmt.Sprintf("more than %d bytes", feedbackBytesMax)},
			{"/v2/models/other/feedback", `{"id":"a","labels":[1]}`, 404, "other"},
			{"/v2/models/scene/versions/9/feedback", `{"id":"a","labels":[1]}`, 404, "9"},
		} {
			if w := f.call("POST", c.path, c.body); w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%s %.80s: %d %s, want %d %s", c.path, c.body, w.Code, w.Body, c.status, c.want)
			}
		}
		if w := f.call("POST", feedbackPath, `{"id":"a","labels":[1]}`); !strings.Contains(w.Body.String(), `"accepted":1`) {
			t.Errorf("after errors: %s", w.Body)
		}
		if w := f.call("GET", feedbackPath, ""); w.Code != http.StatusForbidden {
			t.Errorf("a report for a remote caller: %d", w.Code)
		}
	})
}

func TestFeedbackOffAndRoles(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		if w := f.call("POST", feedbackPath, `{"id":"a","labels":[1]}`); w.Code != http.StatusNotImplemented || !strings.Contains(w.Body.String(), "--feedback") {
			t.Errorf("off: %d %s", w.Code, w.Body)
		}
		if w := f.call("GET", "/v2", ""); strings.Contains(w.Body.String(), `"feedback"`) {
			t.Errorf("an extension that is off is listed: %s", w.Body)
		}
	})
	s := learning(nil)
	take := s.config
	s.config = func(c *Config) { take(c); c.FeedbackRole = access.Admin }
	with(t, s, func(f fixture) {
		if w := f.call("POST", feedbackPath, `{"id":"a","labels":[1]}`); w.Code != http.StatusForbidden {
			t.Errorf("labels of a remote caller where administrators give them: %d %s", w.Code, w.Body)
		}
		if w := f.call("GET", "/v2", ""); !strings.Contains(w.Body.String(), `"feedback"`) {
			t.Errorf("the extension is not listed: %s", w.Body)
		}
	})
}

// TestFeedbackOverGRPC checks that both transports count the same, and the bounds of gRPC.
func TestFeedbackOverGRPC(t *testing.T) {
	d := grpcAPI(t, learning(nil))
	if _, err := d.ModelInfer(t.Context(), picture("a")); err != nil {
		t.Fatal(err)
	}
	records := []oip.Feedback{{ID: "a", Labels: []oip.Label{{Names: []string{"night"}}}}, {ID: "b", Scores: []*float64{new(1.0)}}}
	got, err := d.ModelFeedback(t.Context(), inference.EncodeFeedback("scene", "", records))
	if err != nil || got.GetAccepted() != 1 || got.GetUnknown() != 1 || len(got.GetUnknownIds()) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	got, err = d.ModelFeedback(t.Context(), inference.EncodeFeedback("scene", "3", records[:1]))
	if err != nil || got.GetDuplicate() != 1 {
		t.Errorf("the second time: %v, %v", got, err)
	}
	long := []oip.Feedback{{ID: strings.Repeat("x", feedbackBytesMax), Scores: []*float64{nil}}}
	for want, m := range map[codes.Code]*inference.ModelFeedbackRequest{
		codes.InvalidArgument:   inference.EncodeFeedback("scene", "", []oip.Feedback{{ID: "a"}}),
		codes.NotFound:          inference.EncodeFeedback("other", "", records),
		codes.ResourceExhausted: inference.EncodeFeedback("scene", "", long),
	} {
		if _, err := d.ModelFeedback(t.Context(), m); grpcstatus.Code(err) != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
	off := grpcAPI(t, setup{})
	if _, err := off.ModelFeedback(t.Context(), inference.EncodeFeedback("scene", "", records)); grpcstatus.Code(err) != codes.Unimplemented {
		t.Errorf("off: %v", err)
	}
}

func FuzzFeedback(f *testing.F) {
	for _, body := range []string{`{"id":"a","labels":[1]}`, `{"feedback":[{"id":"a","scores":[0.5]},{"id":"b","labels":[null]}]}`, `{"id":"a","labels":["day"]}`} {
		f.Add(body)
	}
	s := learning(nil)
	s.instant, s.queueJobs = true, 10
	h, e := start(f, s)
	f.Cleanup(func() { _ = e.Drain(f.Context()) })
	f.Fuzz(func(t *testing.T, body string) {
		send(h, httptest.NewRequestWithContext(t.Context(), "POST", inferPath, strings.NewReader(`{"id":"a","inputs":[`+imageJSON+`]}`)))
		w := send(h, httptest.NewRequestWithContext(t.Context(), "POST", feedbackPath, strings.NewReader(body)))
		if w.Code != 200 && w.Code != 400 && w.Code != 413 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}
