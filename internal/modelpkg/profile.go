package modelpkg

import "time"

// Profile is the measurements of a model's variants on one device, with the number of
// threads that will serve. It is a JSON file, profiles/<device>.json, that people
// review and check in; see docs/model-package.md.
type Profile struct {
	Format         int              `json:"format"` // ProfileFormat
	Model          string           `json:"model"`
	ModelVersion   string           `json:"model_version"`
	ModelDigest    string           `json:"model_digest"`
	Device         string           `json:"device"`          // short name; also the file's name
	DeviceDetail   string           `json:"device_detail"`   // e.g. the processor's own name
	Threads        int              `json:"threads"`         // intra-op threads of one instance
	Runtime        string           `json:"runtime"`         // "onnxruntime"
	RuntimeVersion string           `json:"runtime_version"` // "1.24.3"
	Created        time.Time        `json:"created"`
	Dataset        string           `json:"dataset"`           // path of the labelled set, in the package
	DatasetDigest  string           `json:"dataset_digest"`    // "sha256:..."
	Samples        int              `json:"samples"`           // in the labelled set
	Metric         string           `json:"metric,omitempty"`  // the metric in words; "" in older profiles: accuracy
	Lengths        map[string]int64 `json:"lengths,omitempty"` // of dynamic inputs in the samples, by name; times hold for these
	Variants       []VariantProfile `json:"variants"`          // in the model's order
}

// ProfileFormat is the version of the profile file that this code reads and writes.
const ProfileFormat = 1

// VariantProfile is the measurements of one variant.
type VariantProfile struct {
	Name       string       `json:"name"`
	Modalities []string     `json:"modalities"`
	Precision  string       `json:"precision"`
	Accuracy   AccuracyMean `json:"accuracy"` // the mean score, for any metric
	// Statistics are figures of the whole set that cannot be floors, such as
	// "macro_f1".
	Statistics map[string]float64 `json:"statistics,omitempty"`
	Batches    []BatchProfile     `json:"batches"` // ascending by Items; the first is 1
}

// AccuracyMean is a measured mean score with its 95 % interval.
type AccuracyMean struct {
	Correct int     `json:"correct"` // number of scores that are 1
	Samples int     `json:"samples"`
	Mean    float64 `json:"mean"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	// Interval is how Low and High were computed: "" is Wilson's formula, for scores of
	// 0 or 1; "betting" is for other scores.
	Interval string `json:"interval,omitempty"`
}

// BatchProfile is the cost of one batch of Items items.
type BatchProfile struct {
	Items       int     `json:"items"`
	P50MS       float64 `json:"p50_ms"`
	P95MS       float64 `json:"p95_ms"`
	MemoryBytes int64   `json:"memory_bytes"` // peak above the loaded model, 0 if unknown
	Runs        int     `json:"runs"`
}
