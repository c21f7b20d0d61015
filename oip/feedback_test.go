package oip

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestDecodeFeedback(t *testing.T) {
	for body, want := range map[string][]Feedback{
		`{"id":"a","labels":[7]}`: {{ID: "a", Labels: []Label{{Numbers: []float64{7}}}}},
		`{"id":"a","labels":["seven",null,[0,1],["x","y"]],"sampled":true}`: {{ID: "a", Sampled: true,
			Labels: []Label{{Names: []string{"seven"}}, {}, {Numbers: []float64{0, 1}}, {Names: []string{"x", "y"}}}}},
		`{"id":"a","scores":[0.5,null]}`:                                        {{ID: "a", Scores: []*float64{new(0.5), nil}}},
		`{"feedback":[{"id":"a","labels":[1]},{"id":"b","scores":[1]}]}` + "\n": {{ID: "a", Labels: []Label{{Numbers: []float64{1}}}}, {ID: "b", Scores: []*float64{new(1.0)}}},
	} {
		got, err := DecodeFeedback([]byte(body))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
		text, err := json.Marshal(FeedbackRequest{got})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := DecodeFeedback(text); err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%s: encoded as %s, which is %+v, %v", body, text, again, err)
		}
	}
}

func TestDecodeFeedbackRefuses(t *testing.T) {
	many := `{"feedback":[` + strings.Repeat(`{"id":"a","labels":[1]},`, FeedbackRecordsMax) + `{"id":"a","labels":[1]}]}`
	for body, want := range map[string]string{
		``:                                     "it ends before its JSON does",
		`{"id":"a","labels":[7]`:               "it ends before its JSON does",
		`{"id":"a","labels":[7]} x`:            "there is more behind the JSON",
		`{"id":"a","label":[7]}`:               `unknown field "label"`,
		`[]`:                                   "cannot unmarshal array",
		`{}`:                                   "record 0: it has no id",
		`{"feedback":[]}`:                      "there are no records",
		`{"id":"a"}`:                           "record 0: it has no labels and no scores",
		`{"id":"a","labels":[]}`:               "record 0: it has no labels and no scores",
		`{"id":"a","labels":[1],"scores":[1]}`: "record 0: it has labels and scores",
		`{"id":"a","labels":[{}]}`:             "a label must be a number, the name of a class, a list of either, or null",
		`{"id":"a","labels":[[1,"x"]]}`:        "a label must be",
		`{"id":"a","labels":[[1,null]]}`:       "a null among its numbers",
		`{"id":"a","labels":[["x",null]]}`:     "a null among its names",
		`{"id":"a","scores":[NaN]}`:            "invalid character",
		`{"id":"a","scores":[0,1.2]}`:          "record 0: the score of item 1 is 1.2; it must be between 0 and 1",
		`{"id":"a","scores":[97]}`:             "did you mean 0.97?",
		`{"id":"a","scores":[-0.1]}`:           "it must be between 0 and 1",
		`{"id":"a","feedback":[]}`:             "fields of a record",
		`{"feedback":[{"id":"a","labels":[1]},{"id":"b","label":1}]}`: `record 1: json: unknown field "label"`,
		many: "there are 10001 records, the bound is 10000",
	} {
		_, err := DecodeFeedback([]byte(body))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", body, err, want)
		}
		if body == many && !errors.Is(err, ErrTooLarge) {
			t.Errorf("too many records: %v", err)
		}
	}
}

func FuzzDecodeFeedback(f *testing.F) {
	for _, seed := range []string{`{"id":"a","labels":[7]}`, `{"feedback":[{"id":"a","scores":[0.5,null],"sampled":true}]}`, `{"id":"a","labels":["x",null,[1,2]]}`, `{"feedback":null}`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		records, err := DecodeFeedback(body)
		if err != nil {
			return
		}
		if err := CheckFeedback(records); err != nil {
			t.Fatalf("decoded what the check refuses: %v", err)
		}
		text, err := json.Marshal(FeedbackRequest{records})
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeFeedback(text)
		if err != nil || !reflect.DeepEqual(records, again) {
			t.Fatalf("%s became %s: %v", body, text, err)
		}
	})
}
