package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/status"
)

// heldOut reads the example's samples once, for all tests.
var heldOut = sync.OnceValues(func() (*replay.Samples, error) { return replay.HeldOut(filepath.Join("..", "..", "models", "digits")) })

// TestSimulation checks that the answers of the profile raise no more alarms than they may,
// and that worse ones do.
func TestSimulation(t *testing.T) {
	samples, err := heldOut()
	if err != nil {
		t.Fatal(err)
	}
	profile, err := modelpkg.FindProfile(samples.Model, "")
	if err != nil {
		t.Fatal(err)
	}
	a, err := readAnswers(samples.Model, profile)
	if err != nil {
		t.Fatal(err)
	}
	reference := a.spec.Reference
	for i, v := range a.spec.Variants {
		if got := mean(a.scores[i]); got < v.Accuracy.Float()-1e-6 || got > v.Accuracy.Float()+1e-6 || v.Low >= v.Accuracy {
			t.Errorf("variant %d has the mean %v, and the profile says %v, at least %v", i, got, v.Accuracy, v.Low)
		}
		if i == reference && v.Agreement != 1 || v.AgreementLow >= v.Agreement {
			t.Errorf("variant %d of reference %d agrees in %v, at least %v", i, reference, v.Agreement, v.AgreementLow)
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, worse := range []bool{false, true} {
		if n := a.alarms(rng, worse); n > 4 { // as many as are expected at most
			t.Errorf("%d alarms in %d observations, worse: %v", n, 2*replayItems, worse)
		}
	}
	for _, scores := range a.scores {
		for i := range scores {
			if rng.Float64() < 0.1 {
				scores[i] = 0
			}
		}
	}
	if n := a.alarms(rng, false); n < 5 {
		t.Errorf("%d alarms where each variant is a tenth less accurate", n)
	}
}

func mean(scores []float64) float64 {
	sum := 0.0
	for _, x := range scores {
		sum += x
	}
	return sum / float64(len(scores))
}

func TestSighting(t *testing.T) {
	w := &watcher{}
	for at, changed := range []bool{false, true, true, false} {
		w.note([]status.Model{{}, {Drift: &status.Drift{Changed: changed}}}, time.Duration(at)*time.Second)
	}
	s := w.seen
	if !s.reported || len(s.changes) != 2 || s.changes[0].at != time.Second || s.changes[1].at != 3*time.Second {
		t.Fatalf("%+v", s)
	}
	for _, c := range []struct {
		from, to, at time.Duration
		noticed      bool
	}{
		{0, time.Minute, time.Second, true},
		{0, time.Second, time.Second, false},                       // only afterwards
		{2 * time.Second, time.Minute, 2 * time.Second, true},      // since before
		{3 * time.Second, 5 * time.Second, 5 * time.Second, false}, // no longer
	} {
		if at, noticed := s.first(c.from, c.to); at != c.at || noticed != c.noticed {
			t.Errorf("from %v to %v: %v at %v", c.from, c.to, noticed, at)
		}
	}
	quiet := &watcher{}
	quiet.note([]status.Model{{}}, 0)
	if quiet.seen.reported || len(quiet.seen.changes) != 0 {
		t.Errorf("%+v", quiet.seen)
	}
}

// TestWatch asks a server that notices something with its third answer.
func TestWatch(t *testing.T) {
	asked := make(chan struct{}, 100)
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text := `{"models":[{"drift":{"changed":false}}]}`
		if n++; n > 2 {
			text = `{"models":[{"drift":{"changed":true}}]}`
		}
		w.Write([]byte(text))
		asked <- struct{}{}
	}))
	defer server.Close()
	w, err := watch(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		<-asked
	}
	seen, err := w.stop()
	if _, noticed := seen.first(0, time.Hour); err != nil || !noticed || !seen.reported {
		t.Errorf("%+v %v", seen, err)
	}
}

// TestWatchFails asks a server that has no status.
func TestWatchFails(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	w, err := watch(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	<-w.done
	if _, err := w.stop(); err == nil {
		t.Error("no error is told")
	}
}

// play runs a trial against an answer for each job, and judges it.
func play(t *testing.T, tr trial, seen sighting, answer func(j replay.Job, shifted bool, a *replay.Answer)) *result {
	t.Helper()
	samples, err := heldOut()
	if err != nil {
		t.Fatal(err)
	}
	o := options{rate: 100, floor: 0.97, before: 5 * time.Second, during: 20 * time.Second, long: 20 * time.Second, seed: 1}
	var r *result
	synctest.Test(t, func(t *testing.T) {
		jobs, shifted, err := tr.load(o, samples)
		if err != nil {
			t.Fatal(err)
		}
		log := replay.Run(t.Context(), jobs, func(_ context.Context, j replay.Job, a *replay.Answer) {
			a.Outcome, a.Expected, a.Scores = slo.OnTime, 990_000, append(a.Scores, 1)
			a.Mix = append(a.Mix, replay.VariantItems{Variant: "v", Items: 1})
			answer(j, shifted.During(j.At), a)
		}, replay.Options{Concurrency: 1, Grace: time.Second})
		r = tr.judge(log, seen, shifted, jobs[len(jobs)-1].At)
	})
	return r
}

// TestJudge checks which bounds are missed.
func TestJudge(t *testing.T) {
	at := func(seconds ...int) (s sighting) {
		s.reported = true
		for i, x := range seconds {
			s.changes = append(s.changes, change{time.Duration(x) * time.Second, i%2 == 0})
		}
		return s
	}
	wrong := func(until time.Duration) func(replay.Job, bool, *replay.Answer) {
		return func(j replay.Job, shifted bool, a *replay.Answer) {
			if shifted && j.At < until {
				a.Scores[0] = float32(j.First % 2)
			}
		}
	}
	refuse := func(after time.Duration) func(replay.Job, bool, *replay.Answer) {
		return func(j replay.Job, shifted bool, a *replay.Answer) {
			if shifted || j.At > after {
				*a = replay.Answer{Outcome: slo.Infeasible}
			}
		}
	}
	inverted := trial{shifts: []string{"swap:text"}}
	passing := trial{shifts: []string{"swap:text"}, passes: true}
	nothing := func(replay.Job, bool, *replay.Answer) {}
	for _, c := range []struct {
		name   string
		trial  trial
		seen   sighting
		answer func(replay.Job, bool, *replay.Answer)
		broken string
	}{
		{"nothing changes", trial{}, at(), nothing, ""},
		{"nothing changes, and an alarm", trial{}, at(9), nothing, "a false alarm"},
		{"an alarm before the shift", inverted, at(2), nothing, "a false alarm"},
		{"never noticed, harmless", inverted, at(), nothing, ""},
		{"never noticed", inverted, at(), wrong(time.Hour), "below the floor"},
		{"noticed, without effect", inverted, at(7), wrong(time.Hour), "below the floor"},
		{"noticed, right again", inverted, at(7), wrong(8 * time.Second), ""},
		{"noticed, refused", inverted, at(7), refuse(time.Hour), ""},
		{"passes and is forgotten", passing, at(7, 40), wrong(8 * time.Second), ""},
		{"passes and is not forgotten", passing, at(7), wrong(8 * time.Second), "not forgotten"},
		{"passes, and is refused", passing, at(7, 40), refuse(30 * time.Second), "still refused"},
	} {
		r := play(t, c.trial, c.seen, c.answer)
		if got := r.broken(0.97); got == "" != (c.broken == "") || !strings.Contains(got, c.broken) {
			t.Errorf("%s: %q, want %q: %+v", c.name, got, c.broken, r)
		}
	}
	r := play(t, inverted, at(7), wrong(8*time.Second))
	if r.before.Measured != 1 || r.during.From != 5 || r.during.To != 7 || r.during.Measured < 0.3 || r.during.Measured > 0.7 || r.after.From < 15.9 || r.after.Measured != 1 {
		t.Errorf("%+v", r)
	}
	if cells := r.cells(""); !slices.Contains(cells, "1.0000 [0.981, 1.000]") && !strings.HasSuffix(cells[2], " items") {
		t.Errorf("%q", cells)
	}
}

func TestTrials(t *testing.T) {
	if all := trials(true); len(all) != 11 || !all[0].feedback || all[1].feedback || !all[2].feedback {
		t.Errorf("%+v", all)
	}
	if all := trials(false); len(all) != 6 || slices.ContainsFunc(all, func(t trial) bool { return t.feedback }) {
		t.Errorf("%+v", all)
	}
	o := options{shadow: "10%"}
	if got := strings.Join(trial{feedback: true}.command(o), " "); !strings.Contains(got, "--shadow 10% --on-drift replan --feedback") {
		t.Error(got)
	}
	if got := strings.Join(trial{}.command(options{}), " "); strings.Contains(got, "shadow") || strings.Contains(got, "feedback") {
		t.Error(got)
	}
}
