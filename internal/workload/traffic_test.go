package workload

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the shipped trace anew")

// TestShippedTrace checks that the trace under scenarios is what Traffic draws.
func TestShippedTrace(t *testing.T) {
	const file = "../../scenarios/traces/traffic.csv"
	var b strings.Builder
	b.WriteString("second,requests\n")
	for s, n := range Traffic(300, 40, 7) {
		fmt.Fprintf(&b, "%d,%v\n", s, n)
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != b.String() {
		t.Errorf("%s is not what is drawn; write it with: go test ./internal/workload -run Shipped -update", file)
	}
}

// TestTrafficIsBurstyOnEveryScale checks what sets real traffic apart from
// Poisson's: counts vary more than their mean explains, and averaging over
// longer windows does not make that go away.
func TestTrafficIsBurstyOnEveryScale(t *testing.T) {
	counts := Traffic(4000, 40, 3)
	mean, square := moments(counts)
	if mean < 30 || mean > 60 {
		t.Errorf("mean %.1f", mean)
	}
	if peak := slices.Max(counts) / mean; peak < 2.5 || peak > 8 {
		t.Errorf("the peak is %.1f times the mean", peak)
	}
	var windows []float64
	for w := range slices.Chunk(counts, 20) {
		m, _ := moments(w)
		windows = append(windows, m)
	}
	_, squareLong := moments(windows)
	variance, long := square-mean*mean, squareLong-mean*mean
	if variance < 5*mean {
		t.Errorf("variance %.0f of a mean of %.0f: Poisson's would be equal", variance, mean)
	}
	// Independent seconds would leave a twentieth of the variance.
	if long < 0.25*variance {
		t.Errorf("over 20 s the variance falls from %.0f to %.0f", variance, long)
	}
}

func moments(x []float64) (mean, square float64) {
	for _, v := range x {
		mean += v
		square += v * v
	}
	return mean / float64(len(x)), square / float64(len(x))
}
