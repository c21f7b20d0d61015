package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/status"
)

// TestExplainByEitherID checks that a client's id and the server's are looked up
// separately, so that neither hides the other. A client that used an id twice gets both
// requests.
func TestExplainByEitherID(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		get := func(path string, want int, answer any) {
			t.Helper()
			r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
			r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost:8000"
			w := send(f, r)
			if w.Code != want {
				t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, want)
			}
			if answer != nil {
				if err := json.Unmarshal(w.Body.Bytes(), answer); err != nil {
					t.Fatal(err)
				}
			}
		}
		var jobs []string
		for _, id := range []string{"first", "2", "2"} {
			w := f.call("POST", inferPath, `{"id":"`+id+`","inputs":[`+imageJSON+`],"outputs":[{"name":"scores"}]}`)
			jobs = append(jobs, w.Header().Get(oip.HeaderJob))
		}
		// The client's id of this request is the server's id of another one.
		f.call("POST", inferPath, `{"id":"`+jobs[0]+`","inputs":[`+imageJSON+`],"outputs":[{"name":"scores"}]}`)
		for i, request := range []string{"first", "2", "2"} {
			var e status.Explanation
			if get("/v1/explain/"+jobs[i], http.StatusOK, &e); e.Job != jobs[i] || e.Request != request {
				t.Errorf("job %s is explained as %s, request %q", jobs[i], e.Job, e.Request)
			}
		}
		var list status.Requests
		if get("/v1/explain?client_id=2", http.StatusOK, &list); list.Total != 2 || len(list.Requests) != 2 || list.Requests[0].Job != jobs[2] || list.Requests[1].Job != jobs[1] {
			t.Errorf("requests with the id 2: %+v, want jobs %s and %s", list, jobs[2], jobs[1])
		}
		if get("/v1/explain?client_id="+jobs[0], http.StatusOK, &list); list.Total != 1 || len(list.Requests) == 1 && list.Requests[0].Job == jobs[0] {
			t.Errorf("the request with the server's id of another for its own: %+v", list)
		}
		for path, want := range map[string]int{"/v1/explain/2": http.StatusNotFound, "/v1/explain/1": http.StatusNotFound, "/v1/explain/first": http.StatusNotFound,
			"/v1/explain?client_id=3": http.StatusNotFound, "/v1/explain": http.StatusBadRequest, "/v1/explain?client_id=": http.StatusBadRequest,
			"/v1/explain?client_id=2&client_id=first": http.StatusBadRequest} {
			get(path, want, nil)
		}
	})
}
