package status

import "time"

// Sample is what a server did in a short interval. GET /v1/status/events sends those of the
// last TimelineS seconds, then each new one.
type Sample struct {
	End     time.Time `json:"end"` // of the interval
	Seconds float64   `json:"seconds"`
	// QueuedItems is the number of waiting items at the end.
	QueuedItems int `json:"queued_items"`
	// BusyShare is the share of the instances' slots that ran batches.
	BusyShare float64 `json:"busy_share"`
	// Models are those with activity.
	Models []ModelSample `json:"models"`
}

// ModelSample is what a version of a model did in an interval.
type ModelSample struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Items   Outcomes `json:"items"` // each with the outcome of its job
	Jobs    Outcomes `json:"jobs"`
	// Accuracy is the expected accuracy and Floor the accuracy that was asked for, both the
	// mean over the items that ran; absent if none ran.
	Accuracy *float64 `json:"accuracy,omitempty"`
	Floor    *float64 `json:"floor,omitempty"`
	// P50MS and P99MS are the times from arrival to end of the jobs that ran.
	P50MS float64 `json:"p50_ms"`
	P99MS float64 `json:"p99_ms"`
	// Variants is the number of items that each variant ran to their end.
	Variants map[string]int `json:"variants,omitempty"`
	// Reasons is the number of jobs that did not run, by reason.
	Reasons map[string]int `json:"reasons,omitempty"`
}

// Bounds on the timeline of a server.
const (
	SampleS   = 5   // length of an interval
	TimelineS = 900 // that is remembered
)
