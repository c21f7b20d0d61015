package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/mosel-serve/mosel/oip/inference"
)

// TestLeaving has a server that is about to stop: it is not ready, over both
// transports. It answers as before, but closes connections.
func TestLeaving(t *testing.T) {
	a, e := startAPI(t, setup{instant: true})
	s := httptest.NewServer(a.REST())
	defer s.Close()
	get := func(path string) (status int, body string, closes bool) {
		t.Helper()
		r, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(text), r.Close
	}
	check := func(when string, ready, live bool, closes bool) {
		t.Helper()
		state := map[bool]int{true: 200, false: 503}
		for path, want := range map[string]int{"/v2/health/ready": state[ready], "/v2/models/single/ready": state[ready], "/v2/health/live": state[live], "/v2/models/single": 200} {
			if status, body, closed := get(path); status != want || closed != closes {
				t.Errorf("%s: %s: status %d, want %d, closes %v: %s", when, path, status, want, closed, body)
			}
		}
		told, err := a.health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if serving := told.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING; err != nil || serving != ready {
			t.Errorf("%s: health: %v, %v", when, told, err)
		}
		service := &service{api: a}
		isReady, err := service.ServerReady(t.Context(), nil)
		if err != nil || isReady.GetReady() != ready {
			t.Errorf("%s: ServerReady: %v, %v", when, isReady, err)
		}
		isLive, err := service.ServerLive(t.Context(), nil)
		if err != nil || isLive.GetLive() != live {
			t.Errorf("%s: ServerLive: %v, %v", when, isLive, err)
		}
		model, err := service.ModelReady(t.Context(), &inference.ModelReadyRequest{Name: "single"})
		if err != nil || model.GetReady() != ready {
			t.Errorf("%s: ModelReady: %v, %v", when, model, err)
		}
		if status, body, _ := get("/v1/status"); status != 200 || strings.Contains(body, `"ready":true`) != ready {
			t.Errorf("%s: status %d: %.200s", when, status, body)
		}
	}
	check("serving", true, true, false)
	a.Vital(false)
	check("as good as dead", false, false, false)
	a.Vital(true)
	check("alive again", true, true, false)
	a.Drain()
	check("leaving", false, true, true)
	a.Vital(true)
	check("still leaving", false, true, true)
	if err := e.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}
