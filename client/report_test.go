package client_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/status"
)

func TestReports(t *testing.T) {
	told := status.Status{Server: status.Server{Name: "mosel", Policy: "mosel", Ready: true, Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		Models: []status.Model{{Name: "digits", Reasons: map[string]int{"yielded": 2}}}}
	slack := -1.5
	explained := status.Explanation{Job: "j-17", Request: "a b/c", SlackMS: &slack, Batches: []status.JobBatch{{Decision: status.Decision{Batch: 3, Why: "so"}, Head: "j-17"}}}
	listed := status.Requests{ClientID: "a b/c&d", Total: 30, Requests: []status.Request{{Job: "j-17", Model: "digits", Outcome: "late"}}}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var answer any = told
		switch r.Method + " " + r.URL.RequestURI() {
		case "GET /v1/status":
		case "GET /v1/explain/a%20b%2Fc":
			answer = explained
		case "GET /v1/explain?client_id=a+b%2Fc%26d":
			answer = listed
		default:
			sendError(w, &client.Error{Status: http.StatusNotFound, Message: "not known"})
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	if got, err := c.Status(t.Context()); err != nil || !reflect.DeepEqual(got, told) {
		t.Errorf("status %+v, %v", got, err)
	}
	if got, err := c.Explain(t.Context(), "a b/c"); err != nil || !reflect.DeepEqual(got, explained) {
		t.Errorf("explanation %+v, %v", got, err)
	}
	if got, err := c.Requests(t.Context(), "a b/c&d"); err != nil || !reflect.DeepEqual(got, listed) {
		t.Errorf("requests %+v, %v", got, err)
	}
	if _, err := c.Requests(t.Context(), "e"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("of an id that nobody gave: %v", err)
	}
	if _, err := c.Explain(t.Context(), "18"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("of a job that nobody knows: %v", err)
	}
	other, err := client.New("grpc://127.0.0.1:1", client.Options{GRPC: clientgrpc.Dial})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Status(t.Context()); !errors.Is(err, client.ErrUnsupported) {
		t.Errorf("over gRPC: %v", err)
	}
}
