package oip

import "time"

// Job is a durable job, mosel's extension of the protocol: many items for one model, whose
// inputs and results outlive the server's process. It is the answer of
// POST /v2/models/{model}/jobs and of GET /v2/models/{model}/jobs/{id}.
type Job struct {
	ID      string `json:"id"`
	Model   string `json:"model_name"`
	Version string `json:"model_version"`
	// State is queued, running, completed, failed, cancelled, or late: the deadline passed
	// before all items had a result. Reason says why a job failed, or what it waits for.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Items are those of the job, Done those with a stored result, and Failed those of
	// Done whose result is an error.
	Items  int `json:"items"`
	Done   int `json:"items_done"`
	Failed int `json:"items_failed"`
	// Ran is how many items each variant answered. ExpectedAccuracy is what the answered
	// items are expected to score on average; 0: there are none yet.
	Ran                map[string]int `json:"ran,omitempty"`
	ExpectedAccuracy   float64        `json:"expected_accuracy,omitempty"`
	MinAccuracy        float64        `json:"min_accuracy,omitempty"`
	AccuracyConfidence float64        `json:"accuracy_confidence,omitempty"`
	// Late is what becomes of items that have no result at the deadline: drop, or run.
	Late            string    `json:"late"`
	Submitted       time.Time `json:"submitted"`
	Deadline        time.Time `json:"deadline,omitzero"`
	PredictedFinish time.Time `json:"predicted_finish,omitzero"`
	Ended           time.Time `json:"ended,omitzero"`
	IdempotencyKey  string    `json:"idempotency_key,omitempty"`
}

// Over reports whether the job has ended.
func (j *Job) Over() bool { return j.State != "queued" && j.State != "running" }

// JobList is the answer of GET /v2/models/{model}/jobs: the caller's jobs, the newest first.
type JobList struct {
	Jobs []Job `json:"jobs"`
}

// JobEnd is the last line of a job's results, so that a reader knows that they are whole.
type JobEnd struct {
	End Job `json:"end"`
}

// JobsReady is the answer of GET /v2/health/jobs.
type JobsReady struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}
