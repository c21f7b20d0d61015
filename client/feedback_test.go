package client_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/status"
)

func TestFeedback(t *testing.T) {
	sent := []oip.Feedback{{ID: "7", Labels: []oip.Label{{Numbers: []float64{3}}, {}, {Names: []string{"seven"}}}, Sampled: true}, {ID: "8", Scores: []*float64{new(0.5), nil}}}
	told := oip.FeedbackResult{Accepted: 2, Unknown: 1, UnknownIDs: []string{"8"}}
	f := &fake{labels: func(model, version string, records []oip.Feedback) (oip.FeedbackResult, *client.Error) {
		if model == "off" {
			return oip.FeedbackResult{}, &client.Error{Status: http.StatusNotImplemented, Message: "not kept"}
		}
		if model != "a/b" || version != "" && version != "3" || !reflect.DeepEqual(records, sent) {
			t.Errorf("got %s %s %+v", model, version, records)
		}
		return told, nil
	}}
	over(t, f, client.Options{}, func(t *testing.T, c *client.Client) {
		if got, err := c.Feedback(t.Context(), "a/b", sent...); err != nil || !reflect.DeepEqual(got, told) {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := c.VersionFeedback(t.Context(), "a/b", "3", sent...); err != nil || !reflect.DeepEqual(got, told) {
			t.Errorf("of a version: %+v, %v", got, err)
		}
		if _, err := c.Feedback(t.Context(), "off", sent...); !errors.Is(err, client.ErrUnsupported) {
			t.Errorf("where answers are not kept: %v", err)
		}
		var refused *client.Error
		if _, err := c.Feedback(t.Context(), "a/b"); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
			t.Errorf("without records: %v", err)
		}
	})
}

func TestFeedbackReport(t *testing.T) {
	told := status.Feedback{Model: "a/b", Version: "1", Digest: "sha256:1", Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Variants: []status.VariantFeedback{{Name: "image", Sampled: status.Measured{Items: 2, Accuracy: 0.75, Scores: []float64{0.5, 1}}}}}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method+" "+r.URL.RequestURI() != "GET /v2/models/a%2Fb/versions/1/feedback" {
			t.Errorf("%s %s", r.Method, r.URL.RequestURI())
		}
		_ = json.NewEncoder(w).Encode(told)
	})
	if got, err := c.FeedbackReport(t.Context(), "a/b", "1"); err != nil || !reflect.DeepEqual(got, told) {
		t.Errorf("%+v, %v", got, err)
	}
}
