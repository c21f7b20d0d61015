package inference

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/oip"
)

func TestFeedbackRoundTrips(t *testing.T) {
	records := []oip.Feedback{
		{ID: "a", Sampled: true, Labels: []oip.Label{{Numbers: []float64{7}}, {}, {Names: []string{"x", "y"}}}},
		{ID: "b", Scores: []*float64{new(0.5), nil, new(0.0)}},
	}
	var got ModelFeedbackRequest
	travel(t, EncodeFeedback("m", "2", records), &got)
	if back, err := DecodeFeedback(&got); err != nil || !reflect.DeepEqual(back, records) || got.GetModelName() != "m" || got.GetModelVersion() != "2" {
		t.Errorf("got %+v, %v", back, err)
	}
	result := oip.FeedbackResult{Accepted: 1, Duplicate: 2, Unknown: 3, Unanswered: 4, UnknownIDs: []string{"a"}}
	var answer ModelFeedbackResponse
	travel(t, EncodeFeedbackResult(result), &answer)
	if back := DecodeFeedbackResult(&answer); !reflect.DeepEqual(back, result) {
		t.Errorf("got %+v", back)
	}
}

func TestFeedbackThatIsRefused(t *testing.T) {
	for want, m := range map[string]*ModelFeedbackRequest{
		"there are no records": {},
		"it has no id":         {Feedback: []*ModelFeedbackRequest_Record{{}}},
		"the score of item 0 is NaN; it must be between 0 and 1": EncodeFeedback("m", "", []oip.Feedback{{ID: "a", Scores: []*float64{new(math.NaN())}}}),
		"the label of item 0 has numbers and names":              EncodeFeedback("m", "", []oip.Feedback{{ID: "a", Labels: []oip.Label{{Numbers: []float64{1}, Names: []string{"x"}}}}}),
	} {
		if _, err := DecodeFeedback(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
