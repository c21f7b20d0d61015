package status

import "time"

// Feedback is what a server knows of a model's accuracy from labels that came after its
// answers: a part of Model, and with digest, metric and scores the answer of
// GET /v2/models/{model}/feedback.
type Feedback struct {
	Model   string    `json:"model"`
	Version string    `json:"version"`
	Digest  string    `json:"digest,omitempty"`
	Metric  string    `json:"metric,omitempty"` // in words
	Now     time.Time `json:"now"`
	// KeptItems are the answered items that can be labelled now, of at most KeptItemsMax,
	// each for KeepS at most. KeptBytes is the memory of their answers.
	KeptItems    int     `json:"kept_items"`
	KeptItemsMax int     `json:"kept_items_max"`
	KeptBytes    int64   `json:"kept_bytes"`
	KeepS        float64 `json:"keep_s"`
	// Unknown counts labels for requests that were not, or no longer, known.
	Unknown int `json:"unknown"`
	// Variants are those with labels.
	Variants []VariantFeedback `json:"variants"`
}

// VariantFeedback is what is known of a variant.
type VariantFeedback struct {
	Name       string `json:"name"`
	Accepted   int    `json:"accepted"`   // labels, since the server has started
	Duplicate  int    `json:"duplicate"`  // labels of items that had one
	Unanswered int    `json:"unanswered"` // labels of items that had failed
	// Sampled is measured on items that were chosen for labelling at random, and Selected
	// on all others. Only Sampled estimates the accuracy on all requests.
	Sampled  Measured `json:"sampled,omitzero"`
	Selected Measured `json:"selected,omitzero"`
}

// Measured is the accuracy of labelled items, the latest MeasuredItemsMax.
type Measured struct {
	Items    int     `json:"items"`
	Right    int     `json:"right"`    // with a score of 1
	Accuracy float64 `json:"accuracy"` // mean score
	Low      float64 `json:"low"`      // its 95 % interval
	High     float64 `json:"high"`
	// Promised is the mean of the accuracies that were expected of the same items, and
	// PromisedLow that of their lower bounds; 0: some had none.
	Promised    float64 `json:"promised"`
	PromisedLow float64 `json:"promised_low"`
	// First and Last are when the earliest and the latest of the items were answered.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Scores are those of the items, in the order of their labels. Missing if all are 0
	// or 1, and in the status.
	Scores []float64 `json:"scores,omitempty"`
}

// MeasuredItemsMax bounds the labelled items of a variant that are measured, sampled and
// others apart. With 10,000 a bound is about a quarter of a point below an accuracy of
// 0.98; older items say less of today.
const MeasuredItemsMax = 20_000
