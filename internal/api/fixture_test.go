package api

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/repository"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// scene is a model with three modalities. text has two inputs, and audio cannot run
// alone. Its variants take 1, 2, 4 and 10 ms per item.
func scene() engine.Served {
	input := func(name string, modality int, d tensor.DType, shape ...int64) modelpkg.Input {
		return modelpkg.Input{Spec: modelpkg.Spec{Name: name, DType: d, Shape: shape}, Modality: modality}
	}
	m := &modelpkg.Model{
		Name: "scene", Version: "3", Description: "What is going on?", Task: "classification", Metric: "accuracy", Labels: []string{"day", "night"},
		Modalities: []modelpkg.Modality{{Name: "image", Inputs: []int{0}}, {Name: "audio", Inputs: []int{1}}, {Name: "text", Inputs: []int{2, 3}}},
		Inputs: []modelpkg.Input{input("image", 0, tensor.Uint8, 2, 2), input("audio", 1, tensor.Int16, -1),
			input("chars", 2, tensor.Uint8, 3), input("mask", 2, tensor.Bool, 3)},
		Outputs: []modelpkg.Spec{{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{2}}, {Name: "half", DType: tensor.FP16, Shape: tensor.Shape{1}}},
		Variants: []modelpkg.Variant{
			{Name: "image", Modalities: 1, Inputs: []int{0}}, {Name: "text", Modalities: 4, Inputs: []int{2, 3}},
			{Name: "image_text", Modalities: 5, Inputs: []int{0, 2, 3}}, {Name: "all", Modalities: 7, Inputs: []int{0, 1, 2, 3}},
		},
		Limits: modelpkg.Limits{BatchItemsMax: 8},
	}
	m.Inputs[0].Media = modelpkg.MediaImage
	m.Inputs[1].Media, m.Inputs[1].SampleRate = modelpkg.MediaAudio, 8000
	return engine.Served{Model: m, Profile: profile(m, []float64{0.75, 0.8, 0.95, 0.98}, []float64{1, 2, 4, 10})}
}

// single is a model of one input.
func single() engine.Served {
	m := &modelpkg.Model{
		Name: "single", Version: "1",
		Modalities: []modelpkg.Modality{{Name: "x", Inputs: []int{0}}},
		Inputs:     []modelpkg.Input{{Spec: modelpkg.Spec{Name: "x", DType: tensor.Int16, Shape: tensor.Shape{2}}}},
		Outputs:    []modelpkg.Spec{{Name: "y", DType: tensor.FP32, Shape: tensor.Shape{2}}},
		Variants:   []modelpkg.Variant{{Name: "x", Modalities: 1, Inputs: []int{0}}},
		Limits:     modelpkg.Limits{BatchItemsMax: 8},
	}
	return engine.Served{Model: m, Profile: profile(m, []float64{0.9}, []float64{1})}
}

// profile returns a profile with the given accuracy and time per item of each variant.
func profile(m *modelpkg.Model, accuracy, ms []float64) *modelpkg.Profile {
	p := &modelpkg.Profile{Model: m.Name}
	for i, v := range m.Variants {
		p.Variants = append(p.Variants, modelpkg.VariantProfile{Name: v.Name, Accuracy: modelpkg.AccuracyMean{Mean: accuracy[i]},
			Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: ms[i], P95MS: ms[i]}, {Items: 8, P50MS: 8 * ms[i], P95MS: 8 * ms[i]}}})
	}
	return p
}

// fixture is an API on an engine on a fake runtime.
type fixture struct {
	*testing.T
	http.Handler
	engine *engine.Engine
}

// setup says how a fixture differs from the default.
type setup struct {
	config    func(*Config)
	fail      func(fake.Run) error // called once the engine is warm
	answer    func(fake.Run) ([]tensor.Tensor, error)
	guard     *access.Guard // nil: one without tokens
	instant   bool          // runs take no time
	queueJobs int
	log       io.Writer
}

// with runs a test in virtual time: the fake runtime takes exactly the profiled time,
// so answers are always the same bytes.
func with(t *testing.T, s setup, test func(f fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, e := start(t, s)
		test(fixture{t, h, e})
		if err := e.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func start(t testing.TB, s setup) (http.Handler, *engine.Engine) {
	t.Helper()
	a, e := startAPI(t, s)
	return a.REST(), e
}

// shelf is a repository of models without a directory.
type shelf struct {
	engine *engine.Engine
	served []engine.Served
}

// Index implements Repository.
func (s shelf) Index() (list []repository.Entry) {
	for _, m := range s.served {
		e := repository.Entry{Name: m.Model.Name, Version: m.Model.Version, State: repository.Ready}
		if l, err := s.engine.Use(e.Name, e.Version); err != nil {
			e.State, e.Reason = repository.Unavailable, "unloaded"
		} else {
			l.Release()
		}
		list = append(list, e)
	}
	return list
}

func (s shelf) find(name string) (engine.Served, error) {
	for _, m := range s.served {
		if m.Model.Name == name {
			return m, nil
		}
	}
	return engine.Served{}, slo.E("", slo.KindNotFound, "there is no model of that name")
}

// Load implements Repository.
func (s shelf) Load(name string) error {
	m, err := s.find(name)
	if err != nil {
		return err
	}
	return s.engine.Deploy(context.Background(), m)
}

// Unload implements Repository.
func (s shelf) Unload(name string) error {
	m, err := s.find(name)
	if err != nil {
		return err
	}
	return s.engine.Remove(m.Model.Name, m.Model.Version)
}

func startAPI(t testing.TB, s setup) (*API, *engine.Engine) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Version = "test"
	if s.config != nil {
		s.config(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if s.log != nil {
		log = newLog(s.log)
	}
	served := []engine.Served{scene(), single(), spoken()}
	var warm atomic.Bool
	fail := func(r fake.Run) error {
		if s.fail == nil || !warm.Load() {
			return nil
		}
		return s.fail(r)
	}
	rt := fake.New(fake.Config{Profiles: []*modelpkg.Profile{served[0].Profile, served[1].Profile, served[2].Profile}, Fail: fail, Answer: s.answer, Instant: s.instant})
	e, err := engine.New(t.Context(), engine.Config{Models: served, Instances: 1, Threads: 1, QueueItemsMax: 10_000, QueueJobsMax: max(s.queueJobs, 1), BatchTimeMax: time.Hour,
		Log: slog.New(slog.DiscardHandler)}, rt)
	if err != nil {
		t.Fatal(err)
	}
	warm.Store(true)
	guard := s.guard
	if guard == nil {
		guard = new(access.Guard)
	}
	a := New(cfg, guard, log)
	a.Open(e, shelf{e, served})
	return a, e
}

func newLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// call sends a request without a network. Headers are "Name: value".
func (f fixture) call(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	return send(f, httptest.NewRequestWithContext(f.Context(), method, path, strings.NewReader(body)), headers...)
}

func send(h http.Handler, r *http.Request, headers ...string) *httptest.ResponseRecorder {
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// script records requests and their answers, for a golden file.
type script struct {
	fixture
	text bytes.Buffer
}

// say sends a request and records its answer.
func (s *script) say(method, path, body string, headers ...string) {
	w := s.call(method, path, body, headers...)
	fmt.Fprintf(&s.text, "> %s %s\n", method, path)
	for _, line := range headers {
		fmt.Fprintf(&s.text, "> %s\n", line)
	}
	if body != "" {
		fmt.Fprintf(&s.text, "> %q\n", body)
	}
	fmt.Fprintf(&s.text, "%d\n", w.Code)
	var names []string
	for name := range w.Header() {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&s.text, "%s: %s\n", name, w.Header().Get(name))
	}
	if text := w.Body.String(); strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		fmt.Fprintf(&s.text, "%s\n\n", strings.TrimSuffix(text, "\n"))
	} else {
		fmt.Fprintf(&s.text, "%q\n\n", text)
	}
}

// jobIDs matches job ids, which every server draws at random.
var jobIDs = regexp.MustCompile(`j-[a-z2-7]{26}`)

// golden compares the script with the file, or writes it with -rewrite.
func (s *script) golden(name string) {
	s.Helper()
	path := filepath.Join("testdata", name)
	text := jobIDs.ReplaceAll(s.text.Bytes(), []byte("j-"+strings.Repeat("x", 26)))
	if *rewrite {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			s.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		s.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		s.Errorf("answers differ from %s; look at the difference, then run go test -rewrite:\n%s", path, difference(string(want), string(text)))
	}
}

// difference returns the first lines that differ.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("want %d lines, got %d", len(a), len(b))
}

// Inputs of the scene, as JSON and as bytes.
const (
	imageJSON = `{"name":"image","shape":[1,2,2],"datatype":"UINT8","data":[[1,2],[3,4]]}`
	textJSON  = `{"name":"chars","shape":[1,3],"datatype":"UINT8","data":[7,8,9]},{"name":"mask","shape":[1,3],"datatype":"BOOL","data":[true,true,false]}`
	audioJSON = `{"name":"audio","shape":[1,5],"datatype":"INT16","data":[1,-2,3,-4,5]}`
	inferPath = "/v2/models/scene/infer"
)

// ask returns a JSON request with inputs and parameters.
func ask(parameters string, inputs ...string) string {
	return `{"parameters":{` + parameters + `},"inputs":[` + strings.Join(inputs, ",") + `],"outputs":[{"name":"scores"}]}`
}
