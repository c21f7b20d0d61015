package conformance_test

import (
	"net/http"
	"slices"
	"testing"
)

// indexEntry is an element of the repository's index.
type indexEntry struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
}

// index requests the repository's index.
func (s *target) index(t *testing.T, body string) []indexEntry {
	t.Helper()
	var list []indexEntry
	s.post(t, "/v2/repository/index", body).into(t, &list)
	return list
}

// entry finds a model in an index.
func entry(list []indexEntry, name string) (indexEntry, bool) {
	at := slices.IndexFunc(list, func(e indexEntry) bool { return e.Name == name })
	if at < 0 {
		return indexEntry{}, false
	}
	return list[at], true
}

func TestRepositoryIndexIsAnArray(t *testing.T) {
	subject.needs(t, "model_repository")
	for _, body := range []string{"", "{}", `{"ready":false}`, `{"ready":true}`, `{"x":[1]}`} {
		t.Run("asked with "+body, func(t *testing.T) {
			if body == `{"x":[1]}` {
				subject.needsStrict(t)
			}
			list := subject.index(t, body)
			for _, m := range subject.models {
				e, ok := entry(list, m.Name)
				if !ok {
					t.Errorf("%s is not in %v", m.Name, list)
				}
				if e.State != "READY" {
					t.Errorf("%s is in state %q (%s), it takes requests", m.Name, e.State, e.Reason)
				}
				if e.Version != "" && len(m.Versions) > 0 && !slices.Contains(m.Versions, e.Version) {
					t.Errorf("%s has version %q, its metadata gives %v", m.Name, e.Version, m.Versions)
				}
			}
		})
	}
	for _, body := range []string{"{", "[]", `"ready"`, `{"ready":"yes"}`, "hello"} {
		t.Run("refused with "+body, func(t *testing.T) {
			subject.needsStrict(t)
			subject.post(t, "/v2/repository/index", body).refused(t, http.StatusBadRequest)
		})
	}
}

// TestRepositoryUnloadsAndLoads unloads a model and loads it again.
func TestRepositoryUnloadsAndLoads(t *testing.T) {
	subject.needs(t, "model_repository")
	subject.needsAdmin(t)
	eachModel(t, func(t *testing.T, m *model) {
		s := m.server
		path := "/v2/repository/models/" + m.Name
		load := func() {
			if a := s.post(t, path+"/load", "{}"); a.status != http.StatusOK {
				t.Fatalf("loading again: %v", a)
			}
		}
		load() // loading a loaded model reloads it
		m.result(t, m.infer(t, m.ask(1)))
		if a := s.post(t, path+"/unload", "{}"); a.status != http.StatusOK {
			t.Fatalf("%v, want status 200", a)
		}
		defer load() // for the following tests, even if this one fails
		if a := m.infer(t, m.ask(1)); a.status != http.StatusNotFound && a.status != http.StatusServiceUnavailable && a.status != http.StatusBadRequest {
			t.Errorf("unloaded: %v, want 404 or 503", a)
		} else {
			a.refused(t, a.status)
		}
		if a := s.get(t, m.path("/ready")); a.status == http.StatusOK {
			t.Errorf("unloaded: %v, want another status than 200", a)
		}
		if e, ok := entry(s.index(t, "{}"), m.Name); !ok || e.State != "UNAVAILABLE" {
			t.Errorf("unloaded: the index has %+v, want state UNAVAILABLE", e)
		}
		if e, ok := entry(s.index(t, `{"ready":true}`), m.Name); ok {
			t.Errorf("unloaded: the index of what is ready has %+v", e)
		}
		s.ready(t) // the server itself stays ready
		load()
		if e, ok := entry(s.index(t, "{}"), m.Name); !ok || e.State != "READY" {
			t.Errorf("loaded: the index has %+v, want state READY", e)
		}
		s.get(t, m.path("/ready")).ok(t)
		m.result(t, m.infer(t, m.ask(1)))
	})
}

func TestRepositoryKnowsOnlyItsModels(t *testing.T) {
	subject.needs(t, "model_repository")
	subject.needsAdmin(t)
	for _, name := range []string{"no_such_model", "..%2F..%2Fetc", "%2Fetc", "a%00b"} {
		for _, what := range []string{"/load", "/unload"} {
			t.Run(name+what, func(t *testing.T) {
				a := subject.post(t, "/v2/repository/models/"+name+what, "")
				if a.status < 400 || a.status > 499 {
					t.Errorf("%v, want a status of 400 to 499", a)
				}
				subject.needsStrict(t)
				a.refused(t, http.StatusNotFound, http.StatusBadRequest)
			})
		}
	}
	subject.ready(t)
}
