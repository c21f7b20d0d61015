package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/status"
	"github.com/mosel-serve/mosel/tensor"
)

// askedDigits are requests for the example model whose answers were judged here.
type askedDigits struct {
	t      *testing.T
	p      *process
	m      *modelpkg.Model
	set    *modelpkg.Set
	client *client.Client
	scores map[string]float64 // by id
	labels map[string]int
}

// ask runs a held-out sample on some modalities, and judges the answer.
func (a *askedDigits) ask(id string, sample int, modalities ...string) {
	a.t.Helper()
	r := client.Request{Model: "digits", ID: id, Modalities: modalities}
	for i, in := range a.m.Inputs {
		r.Inputs = append(r.Inputs, tensor.Tensor{Name: in.Name, DType: in.DType, Shape: append(tensor.Shape{1}, in.Shape...), Data: a.set.Item(sample)[i]})
	}
	answer, err := a.client.Infer(a.t.Context(), r)
	if err != nil {
		a.t.Fatal(err)
	}
	result, err := a.set.Score(answer.Outputs[0], 0, sample)
	if err != nil {
		a.t.Fatal(err)
	}
	if id == "" { // the server's id is known too
		id = answer.Job
	}
	a.scores[id], a.labels[id] = result.Score, a.set.Labels.Class(sample)
}

// digitsServer serves a copy of the example model.
func digitsServer(t *testing.T, dir string, flags ...string) *process {
	t.Helper()
	return launch(t, setting{flags: append(flags, "--instances", "1"), prepare: func(models string) {
		if err := os.Symlink(dir, filepath.Join(models, "digits")); err != nil {
			t.Fatal(err)
		}
	}})
}

// measuredOf returns what a server's status says of a variant.
func measuredOf(t *testing.T, p *process, variant string) (v status.VariantFeedback, f status.Feedback) {
	t.Helper()
	s, err := p.client(false).Status(t.Context())
	if err != nil || len(s.Models) != 1 || s.Models[0].Feedback == nil {
		t.Fatalf("%v, %+v", err, s.Models)
	}
	for _, v := range s.Models[0].Feedback.Variants {
		if v.Name == variant {
			return v, *s.Models[0].Feedback
		}
	}
	return v, *s.Models[0].Feedback
}

// TestFeedbackOfDigits labels a fifth of the answers of a real server, later, and plans by
// what was measured.
func TestFeedbackOfDigits(t *testing.T) {
	needRuntime(t)
	dir := filepath.Join(t.TempDir(), "digits")
	if err := os.CopyFS(dir, os.DirFS(filepath.FromSlash("../../models/digits"))); err != nil {
		t.Fatal(err)
	}
	m, err := modelpkg.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
	if err != nil {
		t.Fatal(err)
	}
	p := digitsServer(t, dir, "--feedback")
	a := &askedDigits{t, p, m, set, p.client(true), map[string]float64{}, map[string]int{}}
	const asked = 1000
	for i := range asked {
		a.ask(fmt.Sprintf("r%d", i), i%set.Len(), "image")
	}
	a.ask("", 5, "image", "text")

	// A fifth is labelled, chosen at random; some of it twice, and one id is wrong.
	rng := rand.New(rand.NewPCG(1, 2))
	csv, right, labelled := "id,label\n", 0.0, 0
	for i := range asked {
		if id := fmt.Sprintf("r%d", i); rng.IntN(5) == 0 {
			csv += fmt.Sprintf("%s,%s\n", id, m.Labels[a.labels[id]])
			right, labelled = right+a.scores[id], labelled+1
		}
	}
	again := strings.Join(strings.Split(csv, "\n")[1:11], "\n") + "\nnobody,seven\n"
	path := file(t, "labels.csv", []byte(csv+again))
	out, err := runMosel("feedback", path, "--addr", p.rest, "--sampled", "--json")
	var counts oip.FeedbackResult
	if e := json.Unmarshal([]byte(out), &counts); err != nil || e != nil || counts.Accepted != labelled || counts.Duplicate != 10 || counts.Unknown != 1 || counts.UnknownIDs[0] != "nobody" {
		t.Fatalf("%v, %v: %s, want %d accepted", err, e, out, labelled)
	}
	v, f := measuredOf(t, p, "image")
	if v.Sampled.Items != labelled || v.Sampled.Accuracy != right/float64(labelled) || v.Selected.Items != 0 || f.KeptItems != asked+1 || f.Unknown != 1 {
		t.Errorf("measured %+v, want %v of %d; %+v", v, right, labelled, f)
	}
	profile, err := modelpkg.FindProfile(m, "cpu")
	if err != nil {
		t.Fatal(err)
	}
	promised := 0.0
	for _, known := range profile.Variants {
		if known.Name == "image" {
			promised = known.Accuracy.Mean
		}
	}
	if v.Sampled.Promised != promised || v.Sampled.Low > promised || v.Sampled.High < promised {
		t.Errorf("promised %v, measured %v [%v, %v]; the profile has %v", v.Sampled.Promised, v.Sampled.Accuracy, v.Sampled.Low, v.Sampled.High, promised)
	}
	t.Logf("%d of %d labelled: measured %.4f [%.4f, %.4f], promised %.4f", labelled, asked, v.Sampled.Accuracy, v.Sampled.Low, v.Sampled.High, v.Sampled.Promised)
	page, err := runMosel("status", "--addr", p.rest)
	if err != nil || !strings.Contains(page, fmt.Sprintf("image       %.4f   %.4f-%.4f    %.4f", v.Sampled.Accuracy, v.Sampled.Low, v.Sampled.High, promised)) {
		t.Errorf("%v\n%s", err, page)
	}
	for name, want := range map[string]float64{"mosel_feedback_items_total": float64(labelled + 11), "mosel_feedback_kept_items": asked + 1, "mosel_feedback_accuracy": v.Sampled.Accuracy} {
		if got := p.metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	a.labelsOfBothKinds()
	a.profiles(dir, v)
}

// labelsOfBothKinds labels the request that has only the server's id, by a wrong label over
// gRPC and then by a score over REST, which comes too late.
func (a *askedDigits) labelsOfBothKinds() {
	t := a.t
	for id, score := range a.scores {
		if !strings.HasPrefix(id, "j-") {
			continue
		}
		got, err := a.client.Feedback(t.Context(), "digits", oip.Feedback{ID: id, Labels: []oip.Label{{Numbers: []float64{float64(a.labels[id])}}}})
		if err != nil || got.Accepted != 1 {
			t.Errorf("over gRPC: %+v, %v", got, err)
		}
		got, err = a.p.client(false).Feedback(t.Context(), "digits", oip.Feedback{ID: id, Scores: []*float64{new(1 - score)}, Sampled: true})
		if err != nil || got.Duplicate != 1 {
			t.Errorf("over REST: %+v, %v", got, err)
		}
		v, _ := measuredOf(t, a.p, "image_text")
		if v.Selected.Items != 1 || v.Selected.Accuracy != score || v.Sampled.Items != 0 {
			t.Errorf("%+v, want a score of %v", v, score)
		}
	}
}

// profiles makes a profile of the labels, and serves by it after a restart, which forgets
// the answers.
func (a *askedDigits) profiles(dir string, v status.VariantFeedback) {
	t, p := a.t, a.p
	if _, err := runMosel("profile", dir, "--device", "cpu", "--from-feedback", p.rest); err == nil || !strings.Contains(err.Error(), "fewer than 100 labelled items") || !strings.Contains(err.Error(), "image_text 0") {
		t.Errorf("too few labels: %v", err)
	}
	out, err := runMosel("profile", dir, "--device", "cpu", "--from-feedback", p.rest, "--keep-unlabelled")
	if err != nil || !strings.Contains(out, "cpu-feedback.json") || !strings.Contains(out, fmt.Sprintf("sampled at random (image %d)", v.Sampled.Items)) ||
		!strings.Contains(out, "the accuracy of image_text is that on 9000 samples of eval/profile.npz") {
		t.Errorf("%v\n%s", err, out)
	}
	if shown, err := runMosel("profile", dir, "--device", "cpu-feedback", "--show"); err != nil || !strings.Contains(shown, "labelled answers of a server") {
		t.Errorf("%v\n%s", err, shown)
	}
	p.signal(syscall.SIGTERM)
	if code := p.end(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	p = digitsServer(t, dir, "--feedback", "--device", "cpu-feedback")
	s, err := p.client(false).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, served := range s.Models[0].Variants {
		if served.Name == "image" && fmt.Sprintf("%.6f", served.Accuracy) != fmt.Sprintf("%.6f", v.Sampled.Accuracy) {
			t.Errorf("it plans with %v, measured was %v", served.Accuracy, v.Sampled.Accuracy)
		}
	}
	got, err := p.client(false).Feedback(t.Context(), "digits", oip.Feedback{ID: "r0", Scores: []*float64{new(1.0)}})
	if err != nil || got.Unknown != 1 {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
}
