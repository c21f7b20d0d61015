package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// course is a run of 4 s in which the shift lasts from 1.5 s to 3 s. Answers promise 0.9;
// while the shift holds, half of them are wrong. From 2.5 s on until the shift ends,
// requests are refused. After the shift, another variant runs.
func course(t *testing.T) (*Log, *Shifted) {
	samples := senses(t, 60)
	shifted := mustShift(t, samples, 1500*time.Millisecond, 3*time.Second, "invert:picture")
	w := load(Constant, 100, 4*time.Second)
	w.JobSize = 2
	send := func(_ context.Context, j Job, a *Answer) {
		if j.At >= 2500*time.Millisecond && shifted.During(j.At) {
			a.Outcome, a.Failure = slo.Infeasible, "nothing keeps 0.9"
			return
		}
		a.Outcome, a.Expected, a.Low, a.Scores = slo.OnTime, 900_000, 850_000, append(a.Scores, 1, 1)
		variant := "small"
		if shifted.During(j.At) {
			a.Scores[1] = 0
		} else if j.At >= 3*time.Second {
			variant = "large"
		}
		a.Mix = append(a.Mix, VariantItems{variant, 2})
	}
	return Run(t.Context(), mustJobs(t, w, samples.Len()), send, Options{Concurrency: 4, Warmup: time.Second, Grace: time.Second}), shifted
}

func TestTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, shifted := course(t)
		line := log.Timeline(time.Second, shifted)
		bounds := []float64{0, 1, 1.5, 2, 3, 4}
		if len(line.Windows) != len(bounds)-1 {
			t.Fatalf("%d windows: %+v", len(line.Windows), line.Windows)
		}
		offered := 0
		for i, w := range line.Windows {
			offered += w.Items
			if w.From != bounds[i] || w.To != bounds[i+1] {
				t.Errorf("window %d is from %v to %v, want from %v to %v", i, w.From, w.To, bounds[i], bounds[i+1])
			}
			if shifted := i == 2 || i == 3; w.Shifted != shifted {
				t.Errorf("window %d: shifted is %v", i, w.Shifted)
			}
			want := 1.0
			if w.Shifted {
				want = 0.5
			}
			if w.Measured != want || w.Expected != 0.9 || w.ExpectedLow != 0.85 || w.Low > want || w.High < want {
				t.Errorf("window %d: %+v", i, w)
			}
		}
		if offered != 400 {
			t.Errorf("the windows have %d of 400 items", offered)
		}
		if w := line.Windows[3]; w.Infeasible != 50 || w.Answered != 50 || w.Missed != 0 || w.Items != 100 {
			t.Errorf("in the second from 2 to 3: %+v", w)
		}
		if line.RefusedFrom == nil || math.Abs(*line.RefusedFrom-2.5) > 0.02 {
			t.Errorf("refusals begin at %v, want 2.5", line.RefusedFrom)
		}
		var phases []string
		for _, w := range line.Phases {
			phases = append(phases, w.Phase)
		}
		if strings.Join(phases, " ") != "before during after" || line.Phases[0].Items != 150 || line.Phases[1].Items != 150 || line.Phases[2].Items != 100 {
			t.Errorf("%v: %+v", phases, line.Phases)
		}
		if v := line.Phases[2].Variants; len(v) != 1 || v[0] != (VariantItems{"large", 100}) {
			t.Errorf("after the shift ran %+v", v)
		}
		// The report leaves out the warm-up of a second, the timeline does not.
		if r := log.Report(); len(r.Variants) != 2 || r.Variants[0] != (VariantItems{"small", 150}) || r.Failures[0].Jobs != 25 {
			t.Errorf("%+v %+v", r.Variants, r.Failures)
		}
		if line := log.Timeline(time.Second, nil); len(line.Windows) != 4 || len(line.Phases) != 0 || line.Windows[3].Shifted {
			t.Errorf("without shifts: %+v", line)
		}
		if line := log.Timeline(1, nil); len(line.Windows) > WindowsMax {
			t.Errorf("%d windows", len(line.Windows))
		}
	})
}

// TestTimelineOfNothing checks runs without shifted jobs, without answers and without jobs.
func TestTimelineOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		samples := senses(t, 12)
		shifted := mustShift(t, samples, 0, 0, "invert:picture")
		fail := func(_ context.Context, _ Job, a *Answer) { a.Outcome, a.Failure = slo.Shed, "busy" }
		o := Options{Concurrency: 4, Grace: time.Second}
		line := Run(t.Context(), mustJobs(t, load(Constant, 10, time.Second), 12), fail, o).Timeline(time.Second, shifted)
		if len(line.Windows) != 1 || len(line.Phases) != 1 || line.Phases[0].Phase != "during" || line.Windows[0].Missed != 10 || line.Windows[0].Scored != 0 {
			t.Errorf("%+v", line)
		}
		if line := Run(t.Context(), nil, fail, o).Timeline(time.Second, shifted); len(line.Windows) != 0 || len(line.Phases) != 0 {
			t.Errorf("without jobs: %+v", line)
		}
	})
}

// TestTimelineIsShown checks the table, the JSON and the picture.
func TestTimelineIsShown(t *testing.T) {
	var d Document
	synctest.Test(t, func(t *testing.T) {
		log, shifted := course(t)
		w := load(Constant, 100, 4*time.Second)
		d = Document{Format: DocumentFormat, Model: "senses", Metric: "accuracy", Workload: w.Facts(time.Second),
			Runs: []RunOut{{Policy: "mosel", Timeline: log.Timeline(time.Second, shifted)}}}
		d.Workload.Shift(shifted)
		d.Workload.MinAccuracy = "0.9"
	})
	var out bytes.Buffer
	if err := d.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(out.String(), "\n\n")
	want, err := os.ReadFile(filepath.Join("testdata", "timeline.txt"))
	if err != nil || table != string(want) {
		t.Errorf("%v: the table is\n%s", err, table)
	}
	var again Document
	text, err := json.Marshal(d)
	if err != nil || json.Unmarshal(text, &again) != nil {
		t.Fatal(err)
	}
	if line := again.Runs[0].Timeline; len(line.Windows) != 5 || line.Phases[1].Phase != "during" || *line.RefusedFrom != *d.Runs[0].Timeline.RefusedFrom ||
		again.Workload.ShiftFrom != 1.5 || again.Workload.ShiftUntil != 3 || again.Workload.Shifts[0] != "invert:picture" {
		t.Errorf("%s", text)
	}
	file := filepath.Join(t.TempDir(), "x.svg")
	if err := d.Draw(file); err != nil {
		t.Fatal(err)
	}
	picture, err := os.ReadFile(file)
	for _, want := range []string{"shift begins", "shift ends", "refusals begin", "floor 0.9", "expected, as the answers say", "measured, 95 % interval",
		"lower bound in the answers", ">small<", ">large<", "refused as infeasible", "senses, policy mosel"} {
		if err != nil || !strings.Contains(string(picture), want) {
			t.Errorf("the picture lacks %q: %v", want, err)
		}
	}
}

// TestShiftReachesTheServer sends a shifted load over HTTP.
func TestShiftReachesTheServer(t *testing.T) {
	samples := parity(t, 50)
	var plain, shifted atomic.Int64
	server := oracle(t, func(_ http.ResponseWriter, q *oip.Request) bool {
		sample := q.Inputs[0].Row(0)[0]
		switch y := q.Inputs[1].Data; y[1] {
		case 1:
			plain.Add(1)
		case 254:
			shifted.Add(1)
			y[0] = 255 - y[0] // which the answer compares with the sample
		default:
			t.Errorf("y is %v for sample %d", y, sample)
		}
		return false
	})
	jobs := mustJobs(t, load(Constant, 1000, 100*time.Millisecond), samples.Len())
	target, err := NewTarget(server.URL, samples, 8)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	target.Shifted = mustShift(t, samples, 50*time.Millisecond, 80*time.Millisecond, "invert:y")
	log := Run(t.Context(), jobs, target.Send, Options{Concurrency: 8, Grace: GraceDefault})
	want := 0
	for _, j := range jobs {
		if target.Shifted.During(j.At) {
			want++
		}
	}
	if int(shifted.Load()) != want || int(plain.Load()) != len(jobs)-want || want < 25 {
		t.Errorf("%d shifted and %d other requests of %d, want %d shifted; %+v", shifted.Load(), plain.Load(), len(jobs), want, log.Report().Failures)
	}
}
