// Package status defines what a mosel server reports about itself: the answer of
// GET /v1/status and, for one job, of GET /v1/explain/{id}. The values are plain
// data with JSON names, so that the Go client, the command line and dashboards
// read exactly what the server writes.
//
// Names end with their unit: MS is milliseconds, S is seconds, bytes are bytes.
// Accuracies are between 0 and 1. Instants are RFC 3339 times of the server's
// clock. "Recent" means the last Server.RecentS seconds. Later versions may add
// fields; existing fields keep their meaning.
package status

import "time"

// Status is the current state of a server.
type Status struct {
	Server    Server     `json:"server"`
	Queue     Queue      `json:"queue"`
	Models    []Model    `json:"models"`
	Instances []Instance `json:"instances"`
	// Clients are those with the most unfinished items, at most ClientsMax.
	Clients []Client `json:"clients"`
	// Decisions are the latest batches, newest first, at most DecisionsMax.
	Decisions []Decision `json:"decisions"`
}

// Bounds on the lists of a Status.
const (
	ClientsMax   = 10 // more than a person reads
	DecisionsMax = 20 // about a screen
)

// Server describes the server process.
type Server struct {
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Policy   string    `json:"policy"`
	Ready    bool      `json:"ready"`    // loaded, warm and not draining
	Draining bool      `json:"draining"` // refuses new requests, finishes admitted ones
	Now      time.Time `json:"now"`
	UptimeS  float64   `json:"uptime_s"`
	RecentS  float64   `json:"recent_s"` // length of the time that is called recent
	// TokensStale says why the server still uses older tokens than its file has: the
	// file cannot be read, or has errors. Absent: the tokens are those of the file, or
	// there are none.
	TokensStale string `json:"tokens_stale,omitempty"`
}

// Queue is the unfinished work of all models, with its bounds (0: no bound).
type Queue struct {
	Items        int     `json:"items"`   // that wait for a batch
	Running      int     `json:"running"` // items in batches
	Jobs         int     `json:"jobs"`
	Bytes        int64   `json:"bytes"`
	ItemsMax     int     `json:"items_max"`
	JobsMax      int     `json:"jobs_max"`
	BytesMax     int64   `json:"bytes_max"`
	ClientsTotal int     `json:"clients"`    // number of clients with jobs in the queue
	WaitingMS    float64 `json:"waiting_ms"` // time that the instances need for all of it
}

// Outcomes counts jobs or items by their outcome.
type Outcomes struct {
	OnTime     int `json:"on_time"`
	Late       int `json:"late"`
	Shed       int `json:"shed"`
	Infeasible int `json:"infeasible"`
	Cancelled  int `json:"cancelled"`
	Failed     int `json:"failed"`
}

// Total is the sum over all outcomes.
func (o Outcomes) Total() int {
	return o.OnTime + o.Late + o.Shed + o.Infeasible + o.Cancelled + o.Failed
}

// Model is one version of a model.
type Model struct {
	Name       string    `json:"name"`
	Version    string    `json:"version"`
	Digest     string    `json:"digest,omitempty"`
	State      string    `json:"state"` // "ready" or "unavailable"
	Detail     string    `json:"detail,omitempty"`
	Modalities []string  `json:"modalities"`
	Variants   []Variant `json:"variants"`

	QueuedItems    int `json:"queued_items"`
	RunningItems   int `json:"running_items"`
	UnfinishedJobs int `json:"unfinished_jobs"`

	Items   Outcomes       `json:"items"` // each with the outcome of its job
	Jobs    Outcomes       `json:"jobs"`
	Reasons map[string]int `json:"reasons,omitempty"` // number of jobs that did not run to their end, by reason
	// Expected accuracy, the mean over all items that ran.
	Accuracy float64 `json:"accuracy"`
	Recent   Recent  `json:"recent"`
	// Drift is what was noticed about its accuracy while serving; absent: nothing is
	// looked at.
	Drift *Drift `json:"drift,omitempty"`
	// Feedback is what labels that came later say; absent: the server keeps no answers.
	Feedback *Feedback `json:"feedback,omitempty"`
}

// Variant is one variant of a model.
type Variant struct {
	Name       string   `json:"name"`
	Modalities []string `json:"modalities"`
	Precision  string   `json:"precision,omitempty"`
	Accuracy   float64  `json:"accuracy"` // as profiled
	// ItemMS is the recent time of a batch of one item.
	ItemMS float64 `json:"item_ms"`
	// TimeScale is the recent time of batches divided by the profiled time.
	TimeScale   float64 `json:"time_scale"`
	Items       int     `json:"items"` // that ran to their end
	RecentItems int     `json:"recent_items"`
	Failures    int     `json:"failures"` // batches that the runtime failed to run, in whole or in part
}

// Recent is the recent activity of a model.
type Recent struct {
	Items    Outcomes `json:"items"`
	Jobs     Outcomes `json:"jobs"`
	Accuracy float64  `json:"accuracy"` // expected, mean over the items
	// Times of jobs that ran: before their first batch, in batches, and from arrival
	// to end.
	Queue   Latency `json:"queue"`
	Compute Latency `json:"compute"`
	Total   Latency `json:"total"`
	Batches Batches `json:"batches"`
}

// Latency is a distribution of times. Its values are exact to 1 %.
type Latency struct {
	Count  int     `json:"count"`
	MeanMS float64 `json:"mean_ms"`
	P50MS  float64 `json:"p50_ms"`
	P95MS  float64 `json:"p95_ms"`
	P99MS  float64 `json:"p99_ms"`
}

// Batches describes the sizes of batches.
type Batches struct {
	Count     int     `json:"count"`
	MeanItems float64 `json:"mean_items"`
	MaxItems  int     `json:"max_items"`
}

// Instance is an instance of the server, which runs batches.
type Instance struct {
	ID      int       `json:"id"`
	Up      bool      `json:"up"`
	Slots   int       `json:"slots"`   // number of batches that it may run at a time
	Running []Running `json:"running"` // empty: idle
	// BusyShare is the share of its recent up time in which it ran batches, over all its slots.
	BusyShare float64 `json:"busy_share"`
	Losses    int     `json:"losses"` // times that it was lost
}

// Running is a running batch.
type Running struct {
	Batch       uint64  `json:"batch"`
	Model       string  `json:"model"`
	Version     string  `json:"version"`
	Variant     string  `json:"variant"`
	Items       int     `json:"items"`
	ForMS       float64 `json:"for_ms"`
	PredictedMS float64 `json:"predicted_ms"`
}

// Client is a client with unfinished jobs.
type Client struct {
	Name  string `json:"name"`
	Jobs  int    `json:"jobs"`  // unfinished
	Items int    `json:"items"` // of these jobs
}

// Decision is a batch that was started, and the reason for its choice.
type Decision struct {
	Batch       uint64    `json:"batch"`
	Started     time.Time `json:"started"`
	Instance    int       `json:"instance"`
	Model       string    `json:"model"`
	Version     string    `json:"version"`
	Variant     string    `json:"variant"`
	Items       int       `json:"items"`
	PredictedMS float64   `json:"predicted_ms"`
	MeasuredMS  float64   `json:"measured_ms"` // 0 while it runs, if it was lost, and if its end is unknown
	State       string    `json:"state"`       // "running", "done", "failed", "lost", "aborted" (no job needed it any more), "unknown" (its end was missed, see mosel_feed_dropped_total)
	Why         string    `json:"why"`         // a sentence for people
}
