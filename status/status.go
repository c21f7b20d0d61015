// Package status holds what a mosel server says about itself: the answer of
// GET /v1/status and, for one job, of GET /v1/explain/{id}. The values are plain
// data with their JSON names, so that the Go client, the command line and a
// dashboard read the same thing that the server writes, and nobody parses
// metrics to learn what is going on.
//
// Units stand at the end of a name: ms are milliseconds, s seconds, bytes bytes.
// Accuracies are shares between 0 and 1. Instants are RFC 3339 times of the
// server's clock. "Recent" is what happened in the last Server.RecentS seconds.
// Fields may be added; none changes its meaning.
package status

import "time"

// Status is what a server does now.
type Status struct {
	Server    Server     `json:"server"`
	Queue     Queue      `json:"queue"`
	Models    []Model    `json:"models"`
	Instances []Instance `json:"instances"`
	// Clients are those with the most items unfinished, at most ClientsMax.
	Clients []Client `json:"clients"`
	// Decisions are the latest batches, newest first, at most DecisionsMax.
	Decisions []Decision `json:"decisions"`
}

// Bounds of the lists that would grow with the load.
const (
	ClientsMax   = 10 // more than a person looks at
	DecisionsMax = 20 // about a screen
)

// Server is about the process.
type Server struct {
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Policy   string    `json:"policy"`
	Ready    bool      `json:"ready"`    // loaded, warm and not draining
	Draining bool      `json:"draining"` // refuses what comes, finishes what is there
	Now      time.Time `json:"now"`
	UptimeS  float64   `json:"uptime_s"`
	RecentS  float64   `json:"recent_s"` // length of what is called recent
	// TokensStale says why the tokens in force are older than their file: it cannot be
	// read, or is wrong. Absent: they are what the file says, or there are none.
	TokensStale string `json:"tokens_stale,omitempty"`
}

// Queue is what is unfinished, over all models, beside its bounds (0: none).
type Queue struct {
	Items        int     `json:"items"`   // waiting
	Running      int     `json:"running"` // items in batches
	Jobs         int     `json:"jobs"`
	Bytes        int64   `json:"bytes"`
	ItemsMax     int     `json:"items_max"`
	JobsMax      int     `json:"jobs_max"`
	BytesMax     int64   `json:"bytes_max"`
	ClientsTotal int     `json:"clients"`    // with jobs in it
	WaitingMS    float64 `json:"waiting_ms"` // in which the instances would work all of it off
}

// Outcomes counts by how something ended.
type Outcomes struct {
	OnTime     int `json:"on_time"`
	Late       int `json:"late"`
	Shed       int `json:"shed"`
	Infeasible int `json:"infeasible"`
	Cancelled  int `json:"cancelled"`
	Failed     int `json:"failed"`
}

// Total is the number of all.
func (o Outcomes) Total() int {
	return o.OnTime + o.Late + o.Shed + o.Infeasible + o.Cancelled + o.Failed
}

// Model is one model in one version.
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

	Items   Outcomes       `json:"items"` // each as its job ended
	Jobs    Outcomes       `json:"jobs"`
	Reasons map[string]int `json:"reasons,omitempty"` // jobs that were not run to their end, by reason
	// Expected accuracy, the mean over all items that ran.
	Accuracy float64 `json:"accuracy"`
	Recent   Recent  `json:"recent"`
}

// Variant is one way to run a model.
type Variant struct {
	Name       string   `json:"name"`
	Modalities []string `json:"modalities"`
	Precision  string   `json:"precision,omitempty"`
	Accuracy   float64  `json:"accuracy"` // as profiled
	// ItemMS is what one item takes, in a batch of its own, as of late.
	ItemMS float64 `json:"item_ms"`
	// TimeScale is by how much batches of late take longer than profiled.
	TimeScale   float64 `json:"time_scale"`
	Items       int     `json:"items"` // run to their end
	RecentItems int     `json:"recent_items"`
	Failures    int     `json:"failures"` // batches of which the runtime failed something
}

// Recent is what happened to a model lately.
type Recent struct {
	Items    Outcomes `json:"items"`
	Jobs     Outcomes `json:"jobs"`
	Accuracy float64  `json:"accuracy"` // mean, expected
	// Of jobs that ran: until their first batch, in batches, and altogether.
	Queue   Latency `json:"queue"`
	Compute Latency `json:"compute"`
	Total   Latency `json:"total"`
	Batches Batches `json:"batches"`
}

// Latency is a distribution of times, right to 1 %.
type Latency struct {
	Count  int     `json:"count"`
	MeanMS float64 `json:"mean_ms"`
	P50MS  float64 `json:"p50_ms"`
	P95MS  float64 `json:"p95_ms"`
	P99MS  float64 `json:"p99_ms"`
}

// Batches says how large batches are.
type Batches struct {
	Count     int     `json:"count"`
	MeanItems float64 `json:"mean_items"`
	MaxItems  int     `json:"max_items"`
}

// Instance runs one batch at a time.
type Instance struct {
	ID      int       `json:"id"`
	Up      bool      `json:"up"`
	Slots   int       `json:"slots"`   // batches that it may run at a time
	Running []Running `json:"running"` // empty: idle
	// BusyShare is the share of the recent time, as far as it was up, in which it ran batches, over all its slots.
	BusyShare float64 `json:"busy_share"`
	Losses    int     `json:"losses"` // how often it went away
}

// Running is a batch that runs.
type Running struct {
	Batch       uint64  `json:"batch"`
	Model       string  `json:"model"`
	Version     string  `json:"version"`
	Variant     string  `json:"variant"`
	Items       int     `json:"items"`
	ForMS       float64 `json:"for_ms"`
	PredictedMS float64 `json:"predicted_ms"`
}

// Client is who sends jobs.
type Client struct {
	Name  string `json:"name"`
	Jobs  int    `json:"jobs"`  // unfinished
	Items int    `json:"items"` // of those jobs
}

// Decision is a batch that was started, and why it is what it is.
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
	State       string    `json:"state"`       // "running", "done", "failed", "lost", "aborted" (nobody wanted it any more), "unknown" (its end was missed: mosel_feed_dropped_total counts)
	Why         string    `json:"why"`         // a sentence for people
}
