package modelpkg

import "time"

// Profile is what was measured of a model's variants on one device, with the
// threads that serve. It is a JSON file, profiles/<device>.json, that people
// review and check in; see docs/model-package.md.
type Profile struct {
	Format         int              `json:"format"` // ProfileFormat
	Model          string           `json:"model"`
	ModelVersion   string           `json:"model_version"`
	ModelDigest    string           `json:"model_digest"`
	Device         string           `json:"device"`          // short name, the file's name
	DeviceDetail   string           `json:"device_detail"`   // e.g. the processor's own name
	Threads        int              `json:"threads"`         // intra-op threads of one instance
	Runtime        string           `json:"runtime"`         // "onnxruntime"
	RuntimeVersion string           `json:"runtime_version"` // "1.24.3"
	Created        time.Time        `json:"created"`
	Dataset        string           `json:"dataset"`           // path of the labelled set, in the package
	DatasetDigest  string           `json:"dataset_digest"`    // "sha256:..."
	Samples        int              `json:"samples"`           // in the labelled set
	Metric         string           `json:"metric,omitempty"`  // what the scores are, in words; "" in profiles from before: accuracy
	Lengths        map[string]int64 `json:"lengths,omitempty"` // of dynamic inputs in the samples, by name; times hold for these
	Variants       []VariantProfile `json:"variants"`          // in the model's order
}

// ProfileFormat is the version of the profile file this code reads and writes.
const ProfileFormat = 1

// VariantProfile is what was measured of one variant.
type VariantProfile struct {
	Name       string       `json:"name"`
	Modalities []string     `json:"modalities"`
	Precision  string       `json:"precision"`
	Accuracy   AccuracyMean `json:"accuracy"` // the mean score, whatever the metric
	// Statistics are numbers of the whole set that are no floor, such as "macro_f1".
	Statistics map[string]float64 `json:"statistics,omitempty"`
	Batches    []BatchProfile     `json:"batches"` // ascending by Items; the first is 1
}

// AccuracyMean is a measured mean score with its 95 % interval.
type AccuracyMean struct {
	Correct int     `json:"correct"` // how many scores are 1
	Samples int     `json:"samples"`
	Mean    float64 `json:"mean"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	// Interval is how Low and High were computed: "" by Wilson's formula, which is for
	// scores that are 0 or 1, or "betting", for others.
	Interval string `json:"interval,omitempty"`
}

// BatchProfile is the cost of running one batch of so many items.
type BatchProfile struct {
	Items       int     `json:"items"`
	P50MS       float64 `json:"p50_ms"`
	P95MS       float64 `json:"p95_ms"`
	MemoryBytes int64   `json:"memory_bytes"` // peak above the loaded model, 0 if unknown
	Runs        int     `json:"runs"`
}
