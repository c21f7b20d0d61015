package server_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/feedback"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/oip"
)

func TestFeedbackSettings(t *testing.T) {
	for _, wrong := range []server.Feedback{{On: true, Keep: 0, ItemsMax: 1}, {On: true, Keep: time.Hour, ItemsMax: 0}} {
		cfg := config()
		cfg.Feedback = wrong
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "both must be above 0") {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	cfg := config()
	cfg.Feedback = server.Feedback{}
	if err := cfg.Validate(); err != nil {
		t.Errorf("off: %v", err)
	}
}

// TestFeedbackTellsEvidence checks that labels reach whoever plans by them.
func TestFeedbackTellsEvidence(t *testing.T) {
	told := make(chan []feedback.Evidence, 1)
	s := startServer(t, func(cfg *server.Config) {
		atOnce(cfg)
		cfg.Feedback.On, cfg.Feedback.Evidence = true, func(e []feedback.Evidence) { told <- e }
	})
	defer func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	m, err := modelpkg.Load(digitsDir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New("http://"+s.Addr().String(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	q := request(m, set.Item(0))
	q.ID, q.Modalities = "a", []string{"image", "text"}
	answer, err := c.Infer(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.VersionFeedback(t.Context(), m.Name, m.Version, oip.Feedback{ID: "a", Scores: []*float64{new(0.25)}, Sampled: true})
	if err != nil || got.Accepted != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	e := (<-told)[0]
	if e.Model != m.Name || e.Version != m.Version || e.Of != answer.Variant || e.Score != 0.25 || !e.Sampled || e.Answered <= 0 {
		t.Errorf("told %+v of an answer by %s", e, answer.Variant)
	}
	report, err := c.FeedbackReport(t.Context(), m.Name, "")
	if err != nil || len(report.Variants) != 1 || report.Variants[0].Sampled.Items != 1 || len(report.Variants[0].Sampled.Scores) != 1 || report.Digest != m.Digest {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestLabelsLowerAccuracies brings labels that say that a variant is wrong half of the time.
// Those that were selected change nothing; those that were sampled make the server plan with
// less, and correct labels restore it.
func TestLabelsLowerAccuracies(t *testing.T) {
	s := startServer(t, func(cfg *server.Config) {
		atOnce(cfg)
		cfg.Feedback.On = true
	})
	defer func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	m, err := modelpkg.Load(digitsDir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New("http://"+s.Addr().String(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const items = 400
	many := request(m, set.Item(0))
	for i := range many.Inputs {
		one := many.Inputs[i]
		many.Inputs[i].Shape = slices.Clone(one.Shape)
		many.Inputs[i].Shape[0], many.Inputs[i].Data = items, bytes.Repeat(one.Data, items)
	}
	many.Modalities = []string{"image", "text"}
	label := func(score func(item int) float64, sampled bool) {
		t.Helper()
		answer, err := c.Infer(t.Context(), many)
		if err != nil {
			t.Fatal(err)
		}
		f := oip.Feedback{ID: answer.Job, Sampled: sampled}
		for i := range items {
			f.Scores = append(f.Scores, new(score(i)))
		}
		if got, err := c.Feedback(t.Context(), m.Name, f); err != nil || got.Accepted != items {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	changed := func() bool {
		t.Helper()
		st, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Models[0].Drift != nil && st.Models[0].Drift.Changed
	}
	half := func(i int) float64 { return float64(i % 2) }
	label(half, false)
	if changed() {
		t.Error("labels that were selected count as evidence")
	}
	label(half, true)
	if !changed() {
		t.Error("400 sampled labels, half of them wrong, change nothing")
	}
	for range 30 {
		if !changed() {
			return
		}
		label(func(int) float64 { return 1 }, true)
	}
	t.Error("12,000 right answers restore nothing")
}
