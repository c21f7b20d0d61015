package status

// Drift is what a server has noticed while serving about the accuracy of a model's
// variants: from labels that came later, and from shadow runs, which run an item again
// with the most accurate variant and compare the answers.
type Drift struct {
	OnDrift string `json:"on_drift"` // what follows: "report", "replan" or "refuse"
	// Changed says that a variant scores less than its profile says: the requests are no
	// longer like the profile's samples.
	Changed   bool   `json:"changed"`
	Reference string `json:"reference"` // the most accurate variant
	// ConfidenceDrop is by how much all planned accuracies are lower because the reference
	// is less confident since the change began.
	ConfidenceDrop float64        `json:"confidence_drop,omitempty"`
	Shadows        ShadowRuns     `json:"shadows"`
	Variants       []VariantDrift `json:"variants"`
	// Hints say what looks unlike the profile in recent answers and inputs that were chosen
	// for shadow runs, as sentences. They are signs, not proofs.
	Hints []string `json:"hints,omitempty"`
}

// ShadowRuns counts the items that were chosen for shadow runs.
type ShadowRuns struct {
	Share   float64 `json:"share"` // of the items
	Ran     int64   `json:"ran"`
	Waiting int64   `json:"waiting"`
	// Items that did not run. If they are many, the estimates are those of quiet hours.
	NoIdleTime int64 `json:"no_idle_time"`
	TooMany    int64 `json:"too_many"` // others were waiting
	Unfit      int64 `json:"unfit"`    // the reference does not run on what they carry
	Failed     int64 `json:"failed"`
}

// VariantDrift is what is known of a variant, as declared.
type VariantDrift struct {
	Name    string  `json:"name"`
	Profile float64 `json:"profile"` // accuracy by the profile
	Planned float64 `json:"planned"` // that it is planned with
	// Labels are scores of labelled answers, Shadows agreements with the reference.
	Labels  *Evidence `json:"labels,omitempty"`
	Shadows *Evidence `json:"shadows,omitempty"`
	// Live is what both say together of its accuracy on recent requests.
	Live *Live `json:"live,omitempty"`
}

// Live is an estimate of an accuracy.
type Live struct {
	Items int64   `json:"items"` // labelled ones and shadow runs
	Mean  float64 `json:"mean"`
	Low   float64 `json:"low"` // the 90 % interval
	High  float64 `json:"high"`
}

// Evidence is what one source says of a variant.
type Evidence struct {
	Items    int64   `json:"items"`    // in all
	Promised float64 `json:"promised"` // the mean that is tested
	// Mean is over Recent items, of which older ones count less; Low and High are its
	// 90 % interval.
	Recent float64 `json:"recent"`
	Mean   float64 `json:"mean"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	// Test is how far the sequential test has come: it decides at 1. It tests whether the
	// mean has fallen and, while Lowered, whether it has recovered.
	Test    float64 `json:"test"`
	Lowered bool    `json:"lowered"`
	Since   int64   `json:"since,omitempty"` // while Lowered: items since the change began
	Alarms  int     `json:"alarms"`
}
