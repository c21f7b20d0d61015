package status

import "time"

// Explanation says for one job what was asked, what ran, and why.
type Explanation struct {
	Job     string `json:"job"`               // the server's id of the job
	Request string `json:"request,omitempty"` // the client's own id
	Client  string `json:"client,omitempty"`
	Model   string `json:"model"`
	Version string `json:"version"`

	// The request.
	Items      int      `json:"items"`
	Modalities []string `json:"modalities"`       // present in every item
	Choice     []string `json:"choice,omitempty"` // the client asked to run exactly these
	Floor      float64  `json:"floor"`
	// Confidence, if above 0, is that of the floor: accuracies of alternatives and options
	// are then lower bounds.
	Confidence float64 `json:"accuracy_confidence,omitempty"`
	// DeadlineMS is the deadline that the scheduler planned with, from the arrival:
	// the client's deadline minus the time reserved for sending the answer. Absent: no
	// deadline.
	DeadlineMS *float64 `json:"deadline_ms,omitempty"`
	Late       string   `json:"late"` // "drop" or "run": the rule for a job that cannot be on time

	// Times. Milliseconds count from the arrival; absent: not yet, or never.
	Arrived   time.Time `json:"arrived"`
	StartedMS *float64  `json:"started_ms,omitempty"` // its first batch
	EndedMS   *float64  `json:"ended_ms,omitempty"`
	ComputeMS float64   `json:"compute_ms"` // time in its batches, summed

	// The result. Outcome is "running" or "queued" for an unfinished job.
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"` // as in the metrics; "none" if it ran
	Summary string `json:"summary"`
	// AccuracyLow is the lower bound of Accuracy, if the floor has a confidence.
	AccuracyLow *float64 `json:"accuracy_low,omitempty"`
	// Accuracy is the expected one, mean over its items. Absent: the job did not run to
	// its end.
	Accuracy *float64 `json:"accuracy,omitempty"`
	// SlackMS is the time left until the deadline at the job's end; negative: late.
	SlackMS      *float64 `json:"slack_ms,omitempty"`
	RetryAfterMS *float64 `json:"retry_after_ms,omitempty"`
	Best         *float64 `json:"best,omitempty"` // if refused: the highest accuracy that was possible

	// Cascades are those that its items ran on.
	Cascades []Cascade `json:"cascades,omitempty"`
	// Primaries says how many items each modality decided, by the weights that the model
	// gives; of models that give none it is missing.
	Primaries []Primary `json:"primaries,omitempty"`
	// Batches are the batches that its items ran in, in order. Of many batches only the
	// first ones and the latest are listed.
	Batches []JobBatch `json:"batches"`
	// BatchesLeftOut is the number of batches that are not listed.
	BatchesLeftOut int `json:"batches_left_out"`
	// Alternatives are all variants of the model, then its cascades and gates.
	Alternatives []Alternative `json:"alternatives"`
}

// Cascade says what the gate of a cascade decided on a job's items: those whose answer
// has a confidence below the threshold went on to the next variant.
type Cascade struct {
	Name          string  `json:"name"`
	Threshold     float64 `json:"threshold,omitempty"`
	ProfiledShare float64 `json:"profiled_share"` // of items that go on
	Items         int     `json:"items"`          // that ran on its first variant
	WentOn        int     `json:"went_on"`
	// Ways are the variants that a gate chooses from, its own first; nil: it is no gate,
	// but a cascade of two variants with a threshold.
	Ways []Way `json:"ways,omitempty"`
	// Judged are the first of these items.
	Judged []Judged `json:"judged"`
}

// Primary says how many answers depend on a modality most.
type Primary struct {
	Modality string `json:"modality"`
	Items    int    `json:"items"`
}

// Judged is what a gate decided on an item.
type Judged struct {
	Item int `json:"item"`
	// Confidence is that of the first answer; of a gate, its estimate of what the chosen
	// variant scores.
	Confidence float64 `json:"confidence"`
	WentOn     bool    `json:"went_on"`
	To         string  `json:"to,omitempty"` // of a gate: the variant that it chose, if the item went on
}

// Way is a variant that a gate chooses from.
type Way struct {
	Variant       string  `json:"variant"`
	ProfiledShare float64 `json:"profiled_share"`
	Items         int     `json:"items"` // of the job, that it was chosen for
}

// Requests are the requests with one client id. Several clients may use the same id,
// and a client may use it more than once.
type Requests struct {
	ClientID string    `json:"client_id"`
	Total    int       `json:"total"`    // number of remembered requests with the id
	Requests []Request `json:"requests"` // the newest RequestsMax of them, newest first
}

// RequestsMax bounds the number of requests in a list.
const RequestsMax = 20

// Request is one of the requests with a client id.
type Request struct {
	Job     string    `json:"job"`              // the server's id, for an explanation
	Client  string    `json:"client,omitempty"` // who sent it
	Model   string    `json:"model"`
	Version string    `json:"version"`
	Items   int       `json:"items"`
	Arrived time.Time `json:"arrived"`
	Outcome string    `json:"outcome"` // as in an Explanation
}

// JobBatch is a batch that some items of a job ran in.
type JobBatch struct {
	Decision
	StartedMS float64 `json:"started_ms"` // from the job's arrival
	JobItems  int     `json:"job_items"`  // number of items of this job
	// The fields below are set if the policy looked ahead.
	Head        string   `json:"head,omitempty"` // the most urgent job of the batch
	QueuedItems int      `json:"queued_items"`   // number of waiting items of the model
	Planned     *Option  `json:"planned,omitempty"`
	Options     []Option `json:"options,omitempty"`
	// SlackMS is how long the batch could have waited without making any queued job
	// late, at most one hour. ReserveMS is the part of it that is reserved for future
	// jobs.
	SlackMS   float64 `json:"slack_ms"`
	ReserveMS float64 `json:"reserve_ms"`
}

// Option is a batch that could have run.
type Option struct {
	Variant     string  `json:"variant"`
	Items       int     `json:"items"`
	Accuracy    float64 `json:"accuracy"`
	PredictedMS float64 `json:"predicted_ms"`
	LateItems   float64 `json:"late_items"` // expected number of items of future jobs that the batch makes late
	Chosen      bool    `json:"chosen"`
}

// Alternative is a variant, a cascade or a gate, whether it ran or not.
type Alternative struct {
	Variant    string   `json:"variant"` // or the name of the cascade or of the gate's point
	Modalities []string `json:"modalities"`
	Accuracy   float64  `json:"accuracy"`
	Profile    float64  `json:"profile,omitempty"` // accuracy by the profile, where drift has lowered it
	Runnable   bool     `json:"runnable"`          // with the modalities that are present and chosen
	MeetsFloor bool     `json:"meets_floor"`       // if all items run on it
	// PredictedMS is the current predicted time of the whole job on this alternative, alone
	// on one instance.
	PredictedMS float64 `json:"predicted_ms"`
	Items       int     `json:"items"`             // number of the job's items that it ran
	Cascade     bool    `json:"cascade,omitempty"` // it is a cascade or a gate: Items are those that took it
	Why         string  `json:"why"`               // a sentence for people
}
