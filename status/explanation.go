package status

import "time"

// Explanation says of one job what was asked, what was done and why.
type Explanation struct {
	Job     string `json:"job"`               // the server's id of it
	Request string `json:"request,omitempty"` // the client's own id
	Client  string `json:"client,omitempty"`
	Model   string `json:"model"`
	Version string `json:"version"`

	// What was asked.
	Items      int      `json:"items"`
	Modalities []string `json:"modalities"`       // present in every item
	Choice     []string `json:"choice,omitempty"` // the client wanted these run and no others
	Floor      float64  `json:"floor"`
	// DeadlineMS is the time from its arrival that mosel planned with: the
	// client's, less what is kept for the answer's way. Absent: none.
	DeadlineMS *float64 `json:"deadline_ms,omitempty"`
	Late       string   `json:"late"` // "drop" or "run": what becomes of it when it cannot be on time

	// When. The milliseconds count from its arrival; absent: not yet, or never.
	Arrived   time.Time `json:"arrived"`
	StartedMS *float64  `json:"started_ms,omitempty"` // its first batch
	EndedMS   *float64  `json:"ended_ms,omitempty"`
	ComputeMS float64   `json:"compute_ms"` // summed over its batches

	// How it ended. Outcome is "running" or "queued" for a job that has not.
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"` // a word, see the metrics; "none" for what ran
	Summary string `json:"summary"`
	// Expected accuracy, the mean over its items. Absent: it did not run to its end.
	Accuracy *float64 `json:"accuracy,omitempty"`
	// SlackMS is the time left to the deadline at its end, negative if late.
	SlackMS      *float64 `json:"slack_ms,omitempty"`
	RetryAfterMS *float64 `json:"retry_after_ms,omitempty"`
	Best         *float64 `json:"best,omitempty"` // refused: the highest accuracy there was

	// Batches are those its items ran in, in order: the first ones and the latest.
	Batches []JobBatch `json:"batches"`
	// BatchesLeftOut is how many more there were: too many, or too long ago.
	BatchesLeftOut int `json:"batches_left_out"`
	// Alternatives are all variants of the model.
	Alternatives []Alternative `json:"alternatives"`
}

// Requests are those to which clients gave one id of their own. Clients that know
// nothing of each other may give the same, and one may give it twice.
type Requests struct {
	ClientID string    `json:"client_id"`
	Total    int       `json:"total"`    // that are known
	Requests []Request `json:"requests"` // the newest RequestsMax of them, newest first
}

// RequestsMax bounds the requests of one id that are listed.
const RequestsMax = 20

// Request is one of several that share an id.
type Request struct {
	Job     string    `json:"job"`              // the server's id, by which it is explained
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
	JobItems  int     `json:"job_items"`  // of this job
	// The rest is there if the policy looked ahead.
	Head        string   `json:"head,omitempty"` // the most urgent job, which led the batch
	QueuedItems int      `json:"queued_items"`   // of the model that waited
	Planned     *Option  `json:"planned,omitempty"`
	Options     []Option `json:"options,omitempty"`
	// SlackMS is how long serving could have waited with all that was queued still
	// on time; an hour stands for any longer. ReserveMS is the part of it kept for
	// jobs to come.
	SlackMS   float64 `json:"slack_ms"`
	ReserveMS float64 `json:"reserve_ms"`
}

// Option is a batch that could have run.
type Option struct {
	Variant     string  `json:"variant"`
	Items       int     `json:"items"`
	Accuracy    float64 `json:"accuracy"`
	PredictedMS float64 `json:"predicted_ms"`
	LateItems   float64 `json:"late_items"` // of jobs to come, expected to be late for it
	Chosen      bool    `json:"chosen"`
}

// Alternative is a variant, whether it ran or not.
type Alternative struct {
	Variant    string   `json:"variant"`
	Modalities []string `json:"modalities"`
	Accuracy   float64  `json:"accuracy"`
	Runnable   bool     `json:"runnable"`    // on the modalities present and chosen
	MeetsFloor bool     `json:"meets_floor"` // with all items on it
	// PredictedMS is what the whole job takes on it now, alone on one instance.
	PredictedMS float64 `json:"predicted_ms"`
	Items       int     `json:"items"` // of the job that it ran
	Why         string  `json:"why"`   // a sentence for people
}
