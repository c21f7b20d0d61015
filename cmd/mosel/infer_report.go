package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// inferReport is the JSON of `mosel infer`, documented in docs/infer.md.
type inferReport struct {
	Model              string    `json:"model"`
	Version            string    `json:"version"`
	verdict                      // on the first item
	Items              []verdict `json:"items"`
	FailedReason       string    `json:"failed_reason,omitempty"` // why the first failed item has no answer
	Absent             string    `json:"absent,omitempty"`        // modalities that were sent and counted as absent
	Recovered          string    `json:"recovered,omitempty"`     // modalities that were missing and that the model recovered
	Trusted            string    `json:"trusted,omitempty"`       // those of them that the answers use
	Variant            string    `json:"variant"`
	Modalities         []string  `json:"modalities"`
	ExpectedAccuracy   float64   `json:"expected_accuracy"`
	AccuracyLow        float64   `json:"accuracy_low,omitempty"`        // its lower bound
	AccuracyConfidence float64   `json:"accuracy_confidence,omitempty"` // of the floor, as the server understood it
	QueueMS            float64   `json:"queue_ms"`
	ComputeMS          float64   `json:"compute_ms"`
	TotalMS            float64   `json:"total_ms"`
	Late               bool      `json:"late"`
	MinAccuracy        float64   `json:"min_accuracy,omitempty"` // as the server understood it
	DeadlineMS         float64   `json:"deadline_ms,omitempty"`  // likewise
}

// verdict is a model's answer for one item.
type verdict struct {
	Label      string      `json:"label"`
	Confidence float64     `json:"confidence"`
	Top        []candidate `json:"top"`
	Numbers    []float64   `json:"numbers,omitempty"` // in place of these, of models that do not classify
	Failed     bool        `json:"failed,omitempty"`  // it has no answer
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
		ExpectedAccuracy: answer.ExpectedAccuracy, AccuracyLow: answer.AccuracyLow, AccuracyConfidence: answer.AccuracyConfidence, QueueMS: stats.Milliseconds(answer.Queue), ComputeMS: stats.Milliseconds(answer.Compute), TotalMS: stats.Milliseconds(total), Late: answer.Late,
		MinAccuracy: answer.MinAccuracy, DeadlineMS: stats.Milliseconds(answer.Deadline),
		FailedReason: answer.FailedReason, Absent: answer.Absent, Recovered: answer.Recovered, Trusted: answer.Trusted}
	if len(answer.Outputs) == 0 {
		return r, fmt.Errorf("the answer has no outputs")
	}
	scores, labels := answer.Outputs[0], strings.Split(served.Properties["labels"], ",")
	for item := range scores.Rows() {
		if slices.Contains(answer.FailedItems, item) { // its row means nothing
			r.Items = append(r.Items, verdict{Top: []candidate{}, Failed: true})
			continue
		}
		judged, err := judge(scores, item, labels, classifies(served.Properties["task"]))
		if err != nil {
			return r, err
		}
		r.Items = append(r.Items, judged)
	}
	if len(r.Items) == 0 {
		return r, fmt.Errorf("the answer has no items")
	}
	r.verdict = r.Items[0]
	return r, nil
}

// classifies reports whether the numbers of an answer are scores of classes or labels.
// If a server does not name the model's task, the task is assumed to be classification.
func classifies(task string) bool {
	return task == "" || task == "classification" || task == "multilabel"
}

// judge makes the answer for one item: the best classes, or else the numbers.
func judge(scores tensor.Tensor, item int, labels []string, classes bool) (v verdict, err error) {
	if numbers := modelpkg.Floats(scores, item); numbers != nil && (!classes || len(numbers) == 1) {
		return verdict{Top: []candidate{}, Numbers: numbers}, nil
	}
	if _, _, err := modelpkg.BestClass(scores, item); err != nil {
		return v, fmt.Errorf("only classifications and floating-point numbers can be shown: %w", err)
	}
	row := modelpkg.Floats(scores, item)
	for i, value := range row {
		name := strconv.Itoa(i)
		if len(labels) == len(row) {
			name = labels[i]
		}
		v.Top = append(v.Top, candidate{name, value})
	}
	slices.SortStableFunc(v.Top, func(a, b candidate) int { return cmp.Compare(b.Confidence, a.Confidence) })
	v.Top = v.Top[:min(topCandidates, len(v.Top))]
	v.Label, v.Confidence = v.Top[0].Label, v.Top[0].Confidence
	return v, nil
}

// print shows the answer, then what ran and how long it took.
func (r inferReport) print(w io.Writer) {
	if len(r.Items) == 1 && len(r.Numbers) > 0 {
		fmt.Fprintln(w, numbersLine(r.Numbers))
	} else if len(r.Items) == 1 {
		printTop(w, r.Top)
	} else {
		printItems(w, r.Items)
	}
	if r.FailedReason != "" {
		fmt.Fprintf(w, "\nfailed    %s", printable(r.FailedReason))
	}
	if r.Absent != "" {
		fmt.Fprintf(w, "\nabsent    %s (sent, but empty as the package defines it: not used)", printable(r.Absent))
	}
	fmt.Fprintf(w, "\nran       %s (%s)\n", r.Variant, strings.Join(r.Modalities, ", "))
	if r.Recovered != "" {
		fmt.Fprintf(w, "recovered %s; used %s\n", printable(r.Recovered), printable(cmp.Or(r.Trusted, "none")))
	}
	fmt.Fprintf(w, "accuracy  %.4f expected", r.ExpectedAccuracy)
	if r.AccuracyLow > 0 {
		fmt.Fprintf(w, " (at least %.4f at a confidence of %v)", r.AccuracyLow, cmp.Or(r.AccuracyConfidence, slo.ConfidenceShown.Float()))
	}
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

// printTop shows the best classes of a single item.
func printTop(w io.Writer, top []candidate) {
	width := 0
	for _, c := range top {
		width = max(width, len(c.Label))
	}
	for _, c := range top {
		fmt.Fprintf(w, "%-*s  %s\n", width, c.Label, score(c.Confidence))
	}
}

// printItems shows the best class of each item.
func printItems(w io.Writer, items []verdict) {
	width := 0
	for _, v := range items {
		width = max(width, len(v.Label))
	}
	for i, v := range items {
		if v.Failed {
			fmt.Fprintf(w, "%4d  no answer\n", i)
			continue
		}
		if len(v.Numbers) > 0 {
			fmt.Fprintf(w, "%4d  %s\n", i, numbersLine(v.Numbers))
			continue
		}
		fmt.Fprintf(w, "%4d  %-*s  %s\n", i, width, v.Label, score(v.Confidence))
	}
}

// numbersShown is how many numbers of an answer are printed; JSON has all.
const numbersShown = 8

// numbersLine prints the first numbers of an answer.
func numbersLine(numbers []float64) string {
	var parts []string
	for _, v := range numbers[:min(len(numbers), numbersShown)] {
		parts = append(parts, fmt.Sprintf("%.4g", v))
	}
	if more := len(numbers) - numbersShown; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, ", ")
}

// score formats a probability in percent, and any other score as a number.
func score(v float64) string {
	if v >= 0 && v <= 1 {
		return fmt.Sprintf("%5.1f %%", 100*v)
	}
	return fmt.Sprintf("%.3f", v)
}
