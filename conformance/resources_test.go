package conformance_test

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// resource is a resource of REST with its method.
type resource struct{ method, path string }

// resources returns those that every server has, and those of the listed extensions. It
// has only resources that change nothing.
func resources(m *model) []resource {
	s := m.server
	list := []resource{{"GET", "/v2"}, {"GET", "/v2/health/live"}, {"GET", "/v2/health/ready"}, {"GET", m.path("")}, {"GET", m.path("/ready")}}
	version := "/versions/" + url.PathEscape(m.version())
	if m.version() != "" {
		list = append(list, resource{"GET", m.path(version)}, resource{"GET", m.path(version + "/ready")})
	}
	if s.strict {
		list = append(list, resource{"GET", "/v2/models"})
	}
	if s.lists("model_configuration") {
		list = append(list, resource{"GET", m.path("/config")}, resource{"GET", m.path(version + "/config")})
	}
	if s.lists("statistics") {
		list = append(list, resource{"GET", m.path("/stats")}, resource{"GET", m.path(version + "/stats")}, resource{"GET", "/v2/models/stats"})
	}
	if s.lists("model_repository") {
		list = append(list, resource{"POST", "/v2/repository/index"})
	}
	return list
}

// version returns the first version in the model's metadata, "" if there is none.
func (m *model) version() string {
	if len(m.Versions) == 0 {
		return ""
	}
	return m.Versions[0]
}

func TestRESTResourcesAreThere(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		for _, r := range resources(m) {
			t.Run(r.method+" "+r.path, func(t *testing.T) {
				body := map[string]string{"POST": "{}"}[r.method]
				if a := m.server.send(t, r.method, r.path, body, "Content-Type: application/json").ok(t); len(a.body) > 0 {
					a.isJSON(t)
				}
			})
		}
	})
}

func TestRESTASlashAtTheEndMakesNoDifference(t *testing.T) {
	t.Run("the metadata of the server is also at v2 with a slash, as clients ask", func(t *testing.T) { subject.get(t, "/v2/").ok(t) })
	eachModel(t, func(t *testing.T, m *model) {
		m.server.needsStrict(t)
		for _, r := range resources(m) {
			m.server.send(t, r.method, r.path+"/", "").ok(t)
		}
		m.result(t, m.inferAt(t, m.path("/infer/"), m.ask(1)))
	})
}

func TestRESTAQueryMakesNoDifference(t *testing.T) {
	subject.needsStrict(t)
	subject.get(t, "/v2/health/ready?verbose=1&x").ok(t)
}

// TestRESTHeadIsGetWithoutTheBody checks what HTTP requires of every server.
func TestRESTHeadIsGetWithoutTheBody(t *testing.T) {
	subject.needsStrict(t)
	m := subject.models[0]
	for _, r := range resources(m) {
		if r.method != http.MethodGet {
			continue
		}
		t.Run(r.path, func(t *testing.T) {
			a := m.server.send(t, http.MethodHead, r.path, "").ok(t)
			if len(a.body) > 0 {
				t.Errorf("%v has a body", a)
			}
			a.isJSON(t)
		})
	}
}

func TestRESTAWrongMethodIsRefused(t *testing.T) {
	m := subject.models[0]
	for _, r := range append(resources(m), resource{"POST", m.path("/infer")}) {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
			if method == r.method {
				continue
			}
			t.Run(method+" "+r.path, func(t *testing.T) {
				a := m.server.send(t, method, r.path, "")
				if a.status < 400 || a.status > 499 {
					t.Fatalf("%v, want a status of 400 to 499", a)
				}
				m.server.needsStrict(t)
				a.refused(t, http.StatusMethodNotAllowed)
				allowed := strings.FieldsFunc(a.header.Get("Allow"), func(c rune) bool { return c == ',' || c == ' ' })
				if !slices.Contains(allowed, r.method) || slices.Contains(allowed, method) {
					t.Errorf("%v has Allow %q, %s is for it", a, a.header.Get("Allow"), r.method)
				}
			})
		}
	}
}

func TestRESTWhatIsNotThereIs404(t *testing.T) {
	m := subject.models[0]
	unknown := []resource{{"GET", "/v2/models/no_such_model"}, {"GET", "/v2/models/no_such_model/ready"}, {"POST", "/v2/models/no_such_model/infer"},
		{"GET", m.path("/versions/no_such_version")}, {"GET", m.path("/versions/no_such_version/ready")}, {"POST", m.path("/versions/no_such_version/infer")}}
	if m.server.lists("model_configuration") {
		unknown = append(unknown, resource{"GET", "/v2/models/no_such_model/config"}, resource{"GET", m.path("/versions/no_such_version/config")})
	}
	if m.server.lists("statistics") {
		unknown = append(unknown, resource{"GET", "/v2/models/no_such_model/stats"}, resource{"GET", m.path("/versions/no_such_version/stats")})
	}
	for _, r := range unknown {
		t.Run(r.method+" "+r.path, func(t *testing.T) {
			if r.method == http.MethodPost {
				m.inferAt(t, r.path, m.ask(1)).refused(t, http.StatusNotFound)
			} else {
				m.server.get(t, r.path).refused(t, http.StatusNotFound)
			}
		})
	}
	for _, path := range []string{"/nothing", "/v1", "/v2/nothing", "/v2/health", "/v2/health/nothing", m.path("/nothing"), m.path("/versions"), "/v2/models//ready",
		"/v2/models/" + url.PathEscape("../../etc/passwd"), "/v2/models/%00", "/v2/" + strings.Repeat("a/", 200), "/V2/health/live", "/index.html"} {
		t.Run("nothing is at "+path[:min(len(path), 40)], func(t *testing.T) {
			m.server.needsStrict(t)
			m.server.get(t, path).refused(t, http.StatusNotFound)
		})
	}
	subject.ready(t)
}

// TestErrors checks what clients read of errors: tritonclient needs JSON with the key
// "error", and the status says whether to retry.
func TestErrors(t *testing.T) {
	m := subject.models[0]
	wrong := fill(m.Inputs[0], 1)
	wrong.Shape = append(wrong.Shape, 1)
	t.Run("an unknown model is 404", func(t *testing.T) {
		m.inferAt(t, "/v2/models/no_such_model/infer", m.ask(1)).error(t, http.StatusNotFound)
	})
	t.Run("the metadata of an unknown model is 404", func(t *testing.T) {
		m.server.get(t, "/v2/models/no_such_model").error(t, http.StatusNotFound)
	})
	t.Run("an unknown version is 404", func(t *testing.T) {
		m.inferAt(t, m.path("/versions/no_such_version/infer"), m.ask(1)).error(t, http.StatusNotFound)
	})
	t.Run("what is not JSON is 400", func(t *testing.T) { m.inferText(t, "{").error(t, http.StatusBadRequest) })
	t.Run("a wrong shape is 400", func(t *testing.T) {
		m.needsJSON(t)
		m.infer(t, m.askWith(wrong.Name, wrong.object(wrong.flat()))).error(t, http.StatusBadRequest)
	})
	t.Run("an unknown input is 400", func(t *testing.T) {
		m.needsJSON(t)
		other := fill(m.Inputs[0], 1)
		other.Name = "no_such_input"
		m.infer(t, m.askWith(m.Inputs[0].Name, other.object(other.flat()))).error(t, http.StatusBadRequest)
	})
}

func TestRESTNamesInAPathMayBeEscaped(t *testing.T) {
	subject.needsStrict(t)
	m := subject.models[0]
	escaped := ""
	for _, c := range []byte(m.Name) {
		const digits = "0123456789ABCDEF"
		escaped += "%" + string(digits[c>>4]) + string(digits[c&15])
	}
	var got model
	m.server.get(t, "/v2/models/"+escaped).into(t, &got)
	if got.Name != m.Name {
		t.Errorf("the metadata of %s is that of %q", escaped, got.Name)
	}
}

func TestRESTServerMetadata(t *testing.T) {
	var meta struct {
		Name       *string  `json:"name"`
		Version    *string  `json:"version"`
		Extensions []string `json:"extensions"`
	}
	subject.get(t, "/v2").into(t, &meta)
	switch {
	case meta.Name == nil || *meta.Name == "":
		t.Error("there is no name")
	case meta.Version == nil:
		t.Error("there is no version")
	case meta.Extensions == nil:
		t.Error("extensions is no array: one without elements says that there are none")
	}
}

func TestRESTHealth(t *testing.T) {
	t.Run("live says so in the body, as KServe's client reads it", func(t *testing.T) {
		var body struct{ Live *bool }
		subject.get(t, "/v2/health/live").into(t, &body)
		if body.Live == nil || !*body.Live {
			t.Error(`want {"live":true}`)
		}
	})
	t.Run("ready says so in the body, as KServe's client reads it", func(t *testing.T) {
		var body struct{ Ready *bool }
		subject.get(t, "/v2/health/ready").into(t, &body)
		if body.Ready == nil || !*body.Ready {
			t.Error(`want {"ready":true}`)
		}
	})
	eachModel(t, func(t *testing.T, m *model) {
		for _, path := range []string{"/ready", "/versions/" + url.PathEscape(m.version()) + "/ready"} {
			if m.version() == "" && path != "/ready" {
				continue
			}
			var body struct {
				Name  *string
				Ready *bool
			}
			m.server.get(t, m.path(path)).into(t, &body)
			if body.Name == nil || *body.Name != m.Name || body.Ready == nil || !*body.Ready {
				t.Errorf(`%s: want {"name":%q,"ready":true}`, path, m.Name)
			}
		}
	})
}

func TestRESTModelsAreListed(t *testing.T) {
	subject.needsStrict(t)
	var list struct{ Models []string }
	subject.get(t, "/v2/models").into(t, &list)
	for _, m := range subject.models {
		if !slices.Contains(list.Models, m.Name) {
			t.Errorf("%s is not among %v", m.Name, list.Models)
		}
	}
}

func TestRESTModelMetadata(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		if m.Platform == "" {
			t.Error("there is no platform")
		}
		names := map[string]bool{}
		for _, spec := range append(append([]tensorSpec{}, m.Inputs...), m.Outputs...) {
			if _, known := sizes[spec.Datatype]; !known {
				t.Errorf("%s has the datatype %q, which the protocol does not know", spec.Name, spec.Datatype)
			}
			if spec.Name == "" || spec.Shape == nil {
				t.Errorf("a tensor without name or shape: %+v", spec)
			}
			if slices.ContainsFunc(spec.Shape, func(d int64) bool { return d < -1 || d == 0 }) {
				t.Errorf("%s has the shape %v: sizes are above 0, or -1 for any", spec.Name, spec.Shape)
			}
		}
		for _, in := range m.Inputs {
			if names[in.Name] {
				t.Errorf("two inputs have the name %s", in.Name)
			}
			names[in.Name] = true
		}
		if m.version() == "" {
			t.Skip("the model's metadata gives no versions")
		}
		var same, whole any
		m.server.get(t, m.path("/versions/"+url.PathEscape(m.version()))).into(t, &same)
		m.server.get(t, m.path("")).into(t, &whole)
		if !reflect.DeepEqual(same, whole) {
			t.Errorf("version %s has other metadata than the model: %v, %v", m.version(), same, whole)
		}
	})
}

func TestRESTAVersionCanBeAsked(t *testing.T) {
	eachModel(t, func(t *testing.T, m *model) {
		r := m.result(t, m.infer(t, m.ask(1)))
		if m.version() == "" {
			t.Skip("the model's metadata gives no versions")
		}
		if r.ModelVersion != "" && !slices.Contains(m.Versions, r.ModelVersion) {
			t.Errorf("the answer is of version %q, the metadata gives %v", r.ModelVersion, m.Versions)
		}
		r = m.result(t, m.inferAt(t, m.path("/versions/"+url.PathEscape(m.version())+"/infer"), m.ask(1)))
		if r.ModelVersion != m.version() {
			t.Errorf("version %s was asked, the answer is of %q", m.version(), r.ModelVersion)
		}
	})
}
