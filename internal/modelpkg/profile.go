package modelpkg

import (
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Profile is the measurements of a model's variants on one device, with the number of
// threads that will serve. It is a JSON file, profiles/<device>.json, that people
// review and check in; see docs/model-package.md.
type Profile struct {
	Format         int              `json:"format"` // ProfileFormat
	Model          string           `json:"model"`
	ModelVersion   string           `json:"model_version"`
	ModelDigest    string           `json:"model_digest"`
	Device         string           `json:"device"`              // short name; also the file's name
	DeviceDetail   string           `json:"device_detail"`       // e.g. the processor's own name
	Threads        int              `json:"threads"`             // intra-op threads of one instance
	Providers      []Provider       `json:"providers,omitempty"` // of ONNX Runtime, in order of preference; none: plain CPU
	Runtime        string           `json:"runtime"`             // "onnxruntime"
	RuntimeVersion string           `json:"runtime_version"`     // "1.24.3"
	Created        time.Time        `json:"created"`
	Dataset        string           `json:"dataset"`            // path of the labelled set, in the package
	DatasetDigest  string           `json:"dataset_digest"`     // "sha256:..."
	Samples        int              `json:"samples"`            // in the labelled set
	Metric         string           `json:"metric,omitempty"`   // the metric in words; "" in older profiles: accuracy
	Lengths        map[string]int64 `json:"lengths,omitempty"`  // of dynamic inputs in the samples, by name; times hold for these
	Stages         []StageProfile   `json:"stages,omitempty"`   // in the model's order; empty: no stage was measured alone
	Variants       []VariantProfile `json:"variants"`           // in the model's order
	Inputs         []InputProfile   `json:"inputs,omitempty"`   // in the model's order; empty: an older profile
	Cascades       *Cascades        `json:"cascades,omitempty"` // nil: none were searched
	// Feedback is set where Dataset is DatasetFeedback: where the accuracies are from.
	Feedback *FeedbackOrigin `json:"feedback,omitempty"`
}

// DatasetFeedback is the dataset of a profile whose accuracies were measured on labelled
// answers of a server. Such a profile is used only where it is named.
const DatasetFeedback = "feedback"

// FeedbackOrigin says on which answers of a server accuracies were measured.
type FeedbackOrigin struct {
	Items int       `json:"items"` // of all variants
	First time.Time `json:"first"` // when the earliest was answered
	Last  time.Time `json:"last"`
}

// ProfileFormat is the version of the profile file that this code reads and writes.
const ProfileFormat = 1

// StageProfile is the measurements of one stage that variants share, see StageRuns.
type StageProfile struct {
	Name    string         `json:"name"`
	Batches []BatchProfile `json:"batches"` // ascending by Items; the first is 1
}

// StageSum compares a variant with the sum of its stages.
type StageSum struct {
	// Used means that the variant's Batches are sums over its stages. Otherwise the sum
	// was too far off and the variant was measured as a whole.
	Used bool `json:"used"`
	// Off is how much the sum differs from the time of the whole variant, as a share of
	// that time, at the batch size where it differs most: 0.05 is 5 % too long.
	Off float64 `json:"off"`
}

// VariantProfile is the measurements of one variant.
type VariantProfile struct {
	Name       string       `json:"name"`
	Modalities []string     `json:"modalities"`
	Precision  string       `json:"precision"`
	Accuracy   AccuracyMean `json:"accuracy"` // the mean score, for any metric
	// AccuracyOf is the labelled set of Accuracy; "": the profile's Dataset.
	AccuracyOf string `json:"accuracy_of,omitempty"`
	// Statistics are figures of the whole set that cannot be floors, such as
	// "macro_f1".
	Statistics map[string]float64 `json:"statistics,omitempty"`
	// Agreement compares the answers with those of the most accurate variant. Nil: the
	// metric does not compare answers, or the profile is an older one.
	Agreement *Agreement `json:"agreement,omitempty"`
	// Confidence is the mean probability of being right that the answers give themselves;
	// 0: they give none, or the profile is an older one.
	Confidence float64 `json:"confidence,omitempty"`
	// Predicted counts the answers by class, if there are up to ClassesCounted classes.
	Predicted []int `json:"predicted,omitempty"`
	// Primaries counts the answers by primary modality, of a model with weights of the
	// modalities (WeightsOutput).
	Primaries []int `json:"primaries,omitempty"`
	// Sum is set for a variant of stages that were measured alone.
	Sum     *StageSum      `json:"sum,omitempty"`
	Batches []BatchProfile `json:"batches"` // ascending by Items; the first is 1
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
	// Lower has lower bounds of the mean, by level of slo.Confidence, where Correct and
	// Samples do not give them. They hold together for all variants of the profile.
	Lower []float64 `json:"lower,omitempty"`
}

// Bounds returns lower bounds of the accuracy. Those of one level hold together for all of
// so many variants, so planning may choose among these and mix them: each is exceeded
// with a probability of at most (1 - confidence) / variants. Zeros mean that the profile
// does not tell.
func (a AccuracyMean) Bounds(variants int) (b slo.Bounds) {
	for i := range b {
		low := 0.0
		switch {
		case a.Interval == score.ByWilson:
			low = score.LowerShare(a.Correct, a.Samples, missAt(i, variants))
		case len(a.Lower) == len(b):
			low = a.Lower[i]
		}
		b[i] = slo.Accuracy(low * float64(slo.AccuracyUnit))
	}
	return b
}

// SamplesFor returns how many labelled samples a bound at this confidence needs to reach a
// floor on some variant; 0 if no number does, or scores are not all 0 or 1.
func (p *Profile) SamplesFor(floor slo.Accuracy, c slo.Confidence, variants int) int {
	least := 0
	for _, v := range p.Variants {
		if v.Accuracy.Interval != score.ByWilson {
			continue
		}
		if n := score.SamplesFor(v.Accuracy.Mean, floor.Float(), missAt(int(c)-1, variants)); n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// Shortfall completes the error of a floor that no bound reaches: it says at which
// confidence, and how many labelled samples would reach it. For a floor of the expected
// accuracy it is "".
func (p *Profile) Shortfall(floor slo.Accuracy, c slo.Confidence, variants int) string {
	if c == 0 {
		return ""
	}
	text := fmt.Sprintf(" at a confidence of %v", c.Float())
	if n := p.SamplesFor(floor, c, variants); n > 0 {
		text += fmt.Sprintf("; about %d labelled samples in place of %d would reach it", n, p.Samples)
	}
	return text
}

// missAt is the probability that the bound of one variant may miss.
func missAt(level, variants int) float64 {
	return (1 - slo.Confidence(level+1).Float()) / float64(max(1, variants))
}

// BatchProfile is the cost of one batch of Items items.
type BatchProfile struct {
	Items       int     `json:"items"`
	P50MS       float64 `json:"p50_ms"`
	P95MS       float64 `json:"p95_ms"`
	MemoryBytes int64   `json:"memory_bytes"` // peak above the loaded model, 0 if unknown
	Runs        int     `json:"runs"`
}
