package replay

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// golden compares got with a file, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; go test -rewrite accepts this:\n%s", path, got)
	}
}

// example is a document with every field set.
func example() Document {
	w := Workload{Process: Poisson, Rate: 150, Duration: 30 * time.Second, JobSize: 1, Floors: Fixed(0.96), Deadlines: Fixed(0.1), Seed: 1}
	all := Report{
		Seconds:  30.2,
		Offered:  Amount{4500, 4500, 150},
		Served:   Amount{3200, 3200, 106.0},
		Jobs:     Outcomes{OnTime: 3100, Late: 100, Shed: 1280, Failed: 20, OnTimeShare: 0.6889, LateShare: 0.3111},
		Items:    Outcomes{OnTime: 3100, Late: 100, Shed: 1280, Failed: 20, OnTimeShare: 0.6889, LateShare: 0.3111},
		Accuracy: Accuracy{Measured: 0.985, Low: 0.978, High: 0.991, Expected: 0.986, ExpectedIs: "within", Right: 3152, Items: 3200, Samples: 1500, Floor: 0.96},
		JCT:      JCT{Mean: 71.24, P50: 70, P90: 95, P99: 101.5, Max: 120},
		Variants: []VariantItems{{"all", 3200}},
		Generator: Generator{CPU: 0.21, LagP99MS: 7.5, LagMaxMS: 12, LagShare: 0.02, InFlightMax: 40,
			Concurrency: 2048},
		Failures: []Failure{{"too busy", 1280}, {"connection refused", 20}},
	}
	mosel := Report{
		Seconds:  30.1,
		Offered:  Amount{4500, 4500, 150},
		Served:   Amount{4500, 4500, 149.5},
		Jobs:     Outcomes{OnTime: 4490, Late: 10, OnTimeShare: 0.9978, LateShare: 0.0022},
		Items:    Outcomes{OnTime: 4490, Late: 10, OnTimeShare: 0.9978, LateShare: 0.0022},
		Accuracy: Accuracy{Measured: 0.972, Low: 0.963, High: 0.979, Expected: 0.981, ExpectedIs: "above", Right: 4374, Items: 4500, Samples: 1500, Floor: 0.96},
		JCT:      JCT{Mean: 6.31, P50: 5.2, P90: 9, P99: 21.04, Max: 107},
		Variants: []VariantItems{{"image_text", 4000}, {"all", 500}},
		Generator: Generator{CPU: 0.2, LagP99MS: 1.1, LagMaxMS: 3, InFlightMax: 9,
			Concurrency: 2048},
		Failures: []Failure{},
	}
	return Document{Format: DocumentFormat, Model: "digits", Samples: "eval/heldout.npz", Metric: "accuracy", Workload: w.Facts(2 * time.Second),
		Runs: []RunOut{{Policy: "all", Server: "http://127.0.0.1:8000", Report: all}, {Policy: "mosel", Server: "http://127.0.0.1:8000", Report: mosel}}}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := example().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", b.Bytes())
}

// TestJSONIsStable: a field that is renamed, dropped or changes its type breaks
// those who read the document. New fields may be added.
func TestJSONIsStable(t *testing.T) {
	text, err := json.MarshalIndent(example(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "document.json", append(text, '\n'))
}

// TestExpectationsThatDoNotHold: what the labels show beside what was promised is said
// plainly, and only where chance does not explain it.
func TestExpectationsThatDoNotHold(t *testing.T) {
	for _, tt := range []struct {
		right, items int
		promised     float64
		is, verdict  string
	}{
		{0, 0, 0, "", ""},
		{830, 1000, 0.9885, "above", "expected 0.9885 lies above the 95 % interval 0.8055-0.8520 of what was measured: the model does worse on this data than its profile says."},
		{998, 1000, 0.9, "below", "expected 0.9000 lies below the 95 % interval 0.9927-0.9995 of what was measured: the model does better on this data than its profile says."},
		{970, 1000, 0.975, "within", ""},
		{1000, 1000, 1, "within", ""},
	} {
		var answers tally
		for i := range tt.items {
			score := 0.0
			if i < tt.right {
				score = 1
			}
			answers.add(int32(i), score)
		}
		expected, err := slo.AccuracyOf(tt.promised)
		if err != nil {
			t.Fatal(err)
		}
		var r Report
		r.Served.Items = tt.items
		r.accuracy(answers, 0, expected.Times(tt.items))
		if a := r.Accuracy; a.ExpectedIs != tt.is || a.Verdict() != tt.verdict {
			t.Errorf("%d of %d right, %v promised: %q, %q", tt.right, tt.items, tt.promised, a.ExpectedIs, a.Verdict())
		}
	}
}

func TestWarnings(t *testing.T) {
	r := RunOut{Report: Report{EndedSoon: true, Accuracy: Accuracy{BelowFloor: 3},
		Generator: Generator{LagShare: 0.5, InFlightMax: 10, Concurrency: 10}}}
	want := []string{
		"ended before the last arrival; the numbers cover what was sent.",
		"50.0 % of requests were sent more than 5 ms late because 10 were in flight: raise --concurrency.",
		"3 jobs were promised less than they asked for: please report this.",
	}
	got := r.warnings()
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%q, want %q", got[i], want[i])
		}
	}
}
