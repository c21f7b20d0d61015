package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/oip"
)

func TestReadFeedback(t *testing.T) {
	class := func(v float64) oip.Label { return oip.Label{Numbers: []float64{v}} }
	for text, want := range map[string][]labelledRecord{
		"id,label\nr1,7\nr2,\"seven\"\n\nr2,\nr3,0;1;1\nr4,new york;b\n": {
			{oip.Feedback{ID: "r1", Labels: []oip.Label{class(7)}}, 2},
			{oip.Feedback{ID: "r2", Labels: []oip.Label{{Names: []string{"seven"}}, {}}}, 3},
			{oip.Feedback{ID: "r3", Labels: []oip.Label{{Numbers: []float64{0, 1, 1}}}}, 6},
			{oip.Feedback{ID: "r4", Labels: []oip.Label{{Names: []string{"new york", "b"}}}}, 7}},
		"\uFEFFsampled, ID, Score\r\ntrue, r1, 0.5\r\nTrue, r1,\r\n,r2,1\r\n": {
			{oip.Feedback{ID: "r1", Scores: []*float64{new(0.5), nil}, Sampled: true}, 2},
			{oip.Feedback{ID: "r2", Scores: []*float64{new(1.0)}}, 4}},
		"{\"id\":\"r1\",\"labels\":[7,null]}\n\n {\"id\":\"r2\",\"scores\":[0.25],\"sampled\":true}": {
			{oip.Feedback{ID: "r1", Labels: []oip.Label{class(7), {}}}, 1},
			{oip.Feedback{ID: "r2", Scores: []*float64{new(0.25)}, Sampled: true}, 3}},
	} {
		got, err := readFeedback(strings.NewReader(text), "-")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// TestFeedbackLines checks that each error names the file and the line.
func TestFeedbackLines(t *testing.T) {
	for text, want := range map[string]string{
		"":                                          "-: there is nothing in it",
		"id,label\n":                                "-: there are no labels in it",
		"id,lable\nr1,7\n":                          `-:1: the column "lable" is not known; the first line names the columns: id, label, score, sampled`,
		"id,label,label\n":                          `-:1: the column "label" is there twice`,
		"id,sampled\nr1,true\n":                     "-:1: there must be a column id, and one of label and score",
		"id,label,score\nr1,1,1\n":                  "-:1: there must be a column id, and one of label and score",
		"id,label\nr1,7\nr2\n":                      "-:3: wrong number of fields",
		"id,label\nr1,7\nr2,\"x\n":                  `-:3: extraneous or missing " in quoted-field`,
		"id,label\nr1,7\n,8\n":                      "-:3: it has no id",
		"id,score\nr1,0.5\nr2,half\n":               `-:3: the score is "half"; it must be a number between 0 and 1`,
		"id,score\nr1,NaN\n":                        `-:2: the score is "NaN"`,
		"id,score\nr1,0.5\n\nr2,97\n":               "-:4: the score of item 0 is 97; it must be between 0 and 1; did you mean 0.97?",
		"id,label,sampled\nr1,7,perhaps\n":          `-:2: sampled is "perhaps"; it must be true or false`,
		"id,label,sampled\nr1,7,true\nr1,7,false\n": `-:3: sampled differs from the line before, which has the same id "r1"`,
		"{\"id\":\"r1\",\"labels\":[7]}\n{\"id\":\"r2\",\"label\":7}\n": `-:2: json: unknown field "label"`,
		"{\"id\":\"r1\",\"labels\":[7]}\n{\"id\":\"r2\"}\n":             "-:2: it has no labels and no scores",
		"{\"id\":\"r1\",\"labels\":[7]}\n{\"id\":\"r2\",\"labels\":[7]": "-:2: it ends before its JSON does",
	} {
		_, err := readFeedback(strings.NewReader(text), "-")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// labelling is a server that takes labels of requests r0 to r9999 except r7, of which each
// has one item, and refuses the label 9.
func labelling(t *testing.T, models ...string) (addr string, calls *int) {
	t.Helper()
	calls = new(int)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v2/repository/index", func(w http.ResponseWriter, _ *http.Request) {
		var list []oip.RepositoryEntry
		for _, m := range models {
			list = append(list, oip.RepositoryEntry{Name: m})
		}
		_ = json.NewEncoder(w).Encode(list)
	})
	mux.HandleFunc("POST /v2/models/digits/feedback", func(w http.ResponseWriter, r *http.Request) {
		*calls++
		body, _ := io.ReadAll(r.Body)
		records, err := oip.DecodeFeedback(body)
		if err != nil {
			t.Error(err)
		}
		var result oip.FeedbackResult
		for i, f := range records {
			switch {
			case f.Labels[0].Numbers[0] == 9:
				w.WriteHeader(http.StatusBadRequest)
				_, _ = fmt.Fprintf(w, `{"error":"record %d: item 0: the label is 9"}`, i)
				return
			case f.ID == "r7":
				result.Unknown++
				result.UnknownIDs = append(result.UnknownIDs, f.ID)
			case f.Sampled:
				result.Accepted++
			default:
				result.Duplicate++
			}
		}
		_ = json.NewEncoder(w).Encode(result)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL, calls
}

func TestFeedbackCommand(t *testing.T) {
	addr, calls := labelling(t, "digits")
	long := "id,label\n"
	for i := range 25_000 {
		long += fmt.Sprintf("r%d,%d\n", i, i%9)
	}
	path := file(t, "labels.csv", []byte(long))
	out, err := runMosel("feedback", path, "--addr", addr, "--sampled")
	if want := "accepted      24,999\nunknown            1  of requests that the server does not know, or no longer\n            r7\n"; err != nil || out != want {
		t.Errorf("%v, got\n%s\nwant\n%s", err, out, want)
	}
	if *calls < 3 {
		t.Errorf("%d calls for 25,000 records", *calls)
	}
	out, err = runMosel("feedback", path, "--addr", addr, "--model", "digits", "--json")
	var result oip.FeedbackResult
	if e := json.Unmarshal([]byte(out), &result); err != nil || e != nil || result.Duplicate != 24_999 || result.Unknown != 1 {
		t.Errorf("%v, %v: %s", err, e, out)
	}
	wrong := file(t, "wrong.csv", []byte(long+"r1,1\nr2,9\n"))
	if _, err = runMosel("feedback", wrong, "--addr", addr, "--sampled"); err == nil || !strings.Contains(err.Error(), "wrong.csv:25003: item 0: the label is 9\nThe server has taken the ") {
		t.Errorf("a wrong label: %v", err)
	}
	many, _ := labelling(t, "digits", "sentiment")
	if _, err = runMosel("feedback", path, "--addr", many); err == nil || exitCode(err) != 2 || !strings.Contains(err.Error(), "2 models (digits, sentiment): name one with --model") {
		t.Errorf("two models: %v", err)
	}
	if _, err = runMosel("feedback", path, "--addr", addr, "--model", "other"); err == nil {
		t.Error("a model that is not there")
	}
	if _, err = runMosel("feedback"); err == nil || exitCode(err) != 2 {
		t.Errorf("no file: %v", err)
	}
}
