package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/oip"
)

// inferReport is the JSON of `mosel infer`, documented in docs/infer.md.
type inferReport struct {
	Model            string      `json:"model"`
	Version          string      `json:"version"`
	Label            string      `json:"label"`
	Confidence       float64     `json:"confidence"`
	Top              []candidate `json:"top"`
	Variant          string      `json:"variant"`
	Modalities       []string    `json:"modalities"`
	ExpectedAccuracy float64     `json:"expected_accuracy"`
	QueueMS          float64     `json:"queue_ms"`
	ComputeMS        float64     `json:"compute_ms"`
	TotalMS          float64     `json:"total_ms"`
	Late             bool        `json:"late"`
	MinAccuracy      float64     `json:"min_accuracy,omitempty"` // as the server understood it
	DeadlineMS       float64     `json:"deadline_ms,omitempty"`  // likewise
}

// candidate is a class with its score.
type candidate struct {
	Label      string  `json:"label"`
	Confidence float64 `json:"confidence"`
}

// topCandidates is how many classes are shown.
const topCandidates = 3

func newInferReport(served oip.ModelMetadata, answer *client.Response, total time.Duration) (inferReport, error) {
	r := inferReport{Model: served.Name, Version: answer.Version, Variant: answer.Variant, Modalities: answer.Modalities,
		ExpectedAccuracy: answer.ExpectedAccuracy, QueueMS: ms(answer.Queue), ComputeMS: ms(answer.Compute), TotalMS: ms(total), Late: answer.Late,
		MinAccuracy: answer.MinAccuracy, DeadlineMS: ms(answer.Deadline)}
	if len(answer.Outputs) == 0 {
		return r, fmt.Errorf("the answer has no outputs")
	}
	scores := answer.Outputs[0]
	if _, _, err := modelpkg.BestClass(scores, 0); err != nil {
		return r, fmt.Errorf("only classifications can be shown: %w", err)
	}
	labels := strings.Split(served.Properties["labels"], ",")
	row := scores.Row(0)
	for i := range len(row) / 4 {
		name := strconv.Itoa(i)
		if len(labels) == len(row)/4 {
			name = labels[i]
		}
		r.Top = append(r.Top, candidate{name, float64(math.Float32frombits(binary.LittleEndian.Uint32(row[4*i:])))})
	}
	slices.SortStableFunc(r.Top, func(a, b candidate) int {
		switch {
		case a.Confidence > b.Confidence:
			return -1
		case a.Confidence < b.Confidence:
			return 1
		}
		return 0
	})
	r.Top = r.Top[:min(topCandidates, len(r.Top))]
	r.Label, r.Confidence = r.Top[0].Label, r.Top[0].Confidence
	return r, nil
}

// print shows the answer, then what it took.
func (r inferReport) print(w io.Writer) {
	width := 0
	for _, c := range r.Top {
		width = max(width, len(c.Label))
	}
	for _, c := range r.Top {
		fmt.Fprintf(w, "%-*s  %s\n", width, c.Label, score(c.Confidence))
	}
	fmt.Fprintf(w, "\nran       %s (%s)\n", r.Variant, strings.Join(r.Modalities, ", "))
	fmt.Fprintf(w, "accuracy  %.4f expected", r.ExpectedAccuracy)
	if r.MinAccuracy > 0 {
		fmt.Fprintf(w, ", at least %v asked for", r.MinAccuracy)
	}
	fmt.Fprintf(w, "\ntime      %.1f ms: %.1f queue, %.1f compute", r.TotalMS, r.QueueMS, r.ComputeMS)
	if r.DeadlineMS > 0 {
		fmt.Fprintf(w, "; deadline %.1f ms", r.DeadlineMS)
	}
	if r.Late {
		fmt.Fprint(w, ", missed")
	}
	fmt.Fprintln(w)
}

// score prints a probability in percent and any other score as it is.
func score(v float64) string {
	if v >= 0 && v <= 1 {
		return fmt.Sprintf("%5.1f %%", 100*v)
	}
	return fmt.Sprintf("%.3f", v)
}
