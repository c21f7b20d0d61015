package conformance_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/oip/inference"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// feedbackModels runs a test of mosel's extension for labels that come later, for every
// model.
func feedbackModels(t *testing.T, test func(t *testing.T, m *model)) {
	t.Helper()
	subject.needs(t, "feedback")
	eachModel(t, test)
}

// answered runs a request with an id of its own, and returns it.
func (m *model) answered(t *testing.T) (id string) {
	t.Helper()
	a := m.ask(1)
	id = fmt.Sprintf("conformance %s %p", t.Name(), t)
	a.id = quote(id)
	m.infer(t, a).ok(t)
	return id
}

// feedbackCounts is the answer to labels.
type feedbackCounts struct {
	Accepted, Duplicate, Unknown, Unanswered *int
	IDs                                      []string `json:"unknown_ids"`
}

// counts is what became of labels, in the order of the answer's fields.
func (c feedbackCounts) counts(t *testing.T) [4]int {
	t.Helper()
	if c.Accepted == nil || c.Duplicate == nil || c.Unknown == nil || c.Unanswered == nil {
		t.Fatalf("accepted, duplicate, unknown or unanswered is missing: %+v", c)
	}
	return [4]int{*c.Accepted, *c.Duplicate, *c.Unknown, *c.Unanswered}
}

func TestFeedbackCountsOnce(t *testing.T) {
	feedbackModels(t, func(t *testing.T, m *model) {
		id := quote(m.answered(t))
		for _, tc := range []struct {
			body string
			want [4]int
		}{
			{`{"id":` + id + `,"scores":[null]}`, [4]int{}},
			{`{"id":` + id + `,"scores":[0.5]}`, [4]int{1}},
			{`{"id":` + id + `,"scores":[1],"sampled":true}`, [4]int{0, 1}},
			{`{"feedback":[{"id":` + id + `,"scores":[0]},{"id":"no such request","scores":[1,0]}]}`, [4]int{0, 1, 2}},
		} {
			var got feedbackCounts
			m.server.post(t, m.path("/feedback"), tc.body).into(t, &got)
			if counts := got.counts(t); counts != tc.want {
				t.Errorf("%s: %v, want %v", tc.body, counts, tc.want)
			}
			if (tc.want[2] > 0) != (len(got.IDs) > 0) {
				t.Errorf("%s: unknown ids %q", tc.body, got.IDs)
			}
		}
		m.server.ready(t)
	})
}

// TestFeedbackFindsTheServersID brings a score for a request without an id of its own.
func TestFeedbackFindsTheServersID(t *testing.T) {
	feedbackModels(t, func(t *testing.T, m *model) {
		job, _ := m.result(t, m.infer(t, m.ask(1))).Parameters["job"].(string)
		var got feedbackCounts
		m.server.post(t, m.path("/feedback"), `{"id":`+quote(job)+`,"scores":[1]}`).into(t, &got)
		if counts := got.counts(t); counts != [4]int{1} {
			t.Errorf("job %q: %v", job, counts)
		}
	})
}

func TestFeedbackRefusesWhatCannotBe(t *testing.T) {
	feedbackModels(t, func(t *testing.T, m *model) {
		id := quote(m.answered(t))
		for name, body := range map[string]string{
			"no body": "", "no JSON": "[", "an array": "[]", "no id": `{"scores":[1]}`, "an empty id": `{"id":"","scores":[1]}`, "neither labels nor scores": `{"id":` + id + `}`,
			"both": `{"id":` + id + `,"scores":[1],"labels":[1]}`, "too many scores": `{"id":` + id + `,"scores":[1,1]}`, "a score above 1": `{"id":` + id + `,"scores":[1.01]}`,
			"a score below 0": `{"id":` + id + `,"scores":[-0.01]}`, "an unknown field": `{"id":` + id + `,"score":[1]}`, "no records": `{"feedback":[]}`,
			"more behind it": `{"id":` + id + `,"scores":[1]}{}`, "a label that is an object": `{"id":` + id + `,"labels":[{}]}`,
			"a wrong record after a right one": `{"feedback":[{"id":` + id + `,"scores":[1]},{"id":` + id + `,"scores":[2]}]}`,
		} {
			t.Run(name, func(t *testing.T) { m.server.post(t, m.path("/feedback"), body).refused(t, 400) })
		}
		t.Run("too many records", func(t *testing.T) {
			m.server.post(t, m.path("/feedback"), `{"feedback":[`+strings.Repeat(`{"id":"x","scores":[1]},`, 10_000)+`{"id":"x","scores":[1]}]}`).refused(t, 413)
		})
		var got feedbackCounts
		m.server.post(t, m.path("/feedback"), `{"id":`+id+`,"scores":[1]}`).into(t, &got)
		if counts := got.counts(t); counts != [4]int{1} {
			t.Errorf("after refusals, of which none may count: %v", counts)
		}
		m.server.ready(t)
	})
}

func TestGRPCFeedback(t *testing.T) {
	subject.needsGRPC(t)
	feedbackModels(t, func(t *testing.T, m *model) {
		calls := inference.NewGRPCInferenceServiceClient(m.server.conn)
		id := m.answered(t)
		score := func(v float64) []*inference.FeedbackScore { return []*inference.FeedbackScore{{Value: &v}} }
		ask := func(records ...*inference.ModelFeedbackRequest_Record) (*inference.ModelFeedbackResponse, error) {
			return calls.ModelFeedback(t.Context(), &inference.ModelFeedbackRequest{ModelName: m.Name, Feedback: records})
		}
		for name, r := range map[string]*inference.ModelFeedbackRequest_Record{
			"no id": {Scores: score(1)}, "no score": {Id: id}, "NaN": {Id: id, Scores: score(math.NaN())}, "above 1": {Id: id, Scores: score(2)},
			"both": {Id: id, Scores: score(1), Labels: []*inference.FeedbackLabel{{Numbers: []float64{0}}}}, "too many": {Id: id, Scores: append(score(1), score(1)...)},
		} {
			if _, err := ask(r); status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s: %v, want INVALID_ARGUMENT", name, err)
			}
		}
		got, err := ask(&inference.ModelFeedbackRequest_Record{Id: id, Scores: score(0.5)}, &inference.ModelFeedbackRequest_Record{Id: "no such request", Scores: score(1)})
		if err != nil || got.GetAccepted() != 1 || got.GetUnknown() != 1 || len(got.GetUnknownIds()) != 1 {
			t.Errorf("%v, %v", got, err)
		}
		var again feedbackCounts
		m.server.post(t, m.path("/feedback"), `{"id":`+quote(id)+`,"scores":[1]}`).into(t, &again)
		if counts := again.counts(t); counts != [4]int{0, 1} {
			t.Errorf("the same over REST: %v", counts)
		}
	})
}
