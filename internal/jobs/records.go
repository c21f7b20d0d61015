package jobs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Spec is what a client asked for. It is stored when the job is accepted.
type Spec struct {
	ID         string         `json:"id"`
	Client     string         `json:"client,omitempty"`
	Key        string         `json:"key,omitempty"` // of the client, so that a repeated submission is the same job
	Model      string         `json:"model"`
	Version    string         `json:"version"`
	Items      int            `json:"items"`
	ChunkItems int            `json:"chunk_items"`
	Floor      slo.Accuracy   `json:"floor,omitempty"`
	Confidence slo.Confidence `json:"confidence,omitempty"`
	Late       slo.LateRule   `json:"late,omitempty"`
	// Deadline and Created are instants of the wall clock, so that they mean the same
	// in a later process. A zero Deadline is none.
	Deadline time.Time `json:"deadline,omitzero"`
	Created  time.Time `json:"created"`
	Input    Blob      `json:"input"`
	// JSONBytes is the length of the JSON part of the input, as in the protocol's header.
	JSONBytes int `json:"json_bytes"`
}

// chunks is the number of chunks of a job.
func (s *Spec) chunks() int { return (s.Items + s.ChunkItems - 1) / s.ChunkItems }

// chunk is the place of chunk k.
func (s *Spec) chunk(k int) (first, items int) {
	first = k * s.ChunkItems
	return first, min(s.ChunkItems, s.Items-first)
}

// Blob describes data that is stored in pieces.
type Blob struct {
	Bytes  int    `json:"bytes"`
	Pieces int    `json:"pieces"`
	SHA256 string `json:"sha256"`
}

// blobOf describes data.
func blobOf(data []byte) Blob {
	sum := sha256.Sum256(data)
	return Blob{Bytes: len(data), Pieces: (len(data) + ValueBytesMax - 1) / ValueBytesMax, SHA256: hex.EncodeToString(sum[:])}
}

// check returns an error if data is not what was stored.
func (b Blob) check(data []byte) error {
	if got := blobOf(data); got.SHA256 != b.SHA256 || got.Bytes != b.Bytes {
		return slo.E("", slo.KindInternal, "the store of jobs returned %d bytes with the sum %.12s, but %d bytes with the sum %.12s were stored", got.Bytes, got.SHA256, b.Bytes, b.SHA256)
	}
	return nil
}

// Result is what a chunk has come to.
type Result struct {
	Answered int            `json:"answered"`
	Failed   int            `json:"failed,omitempty"`
	Why      string         `json:"why,omitempty"` // the first of them failed
	Score    slo.Score      `json:"score"`         // what the answered items are expected to score together
	Ran      map[string]int `json:"ran"`           // answered items by variant
	// Lines has one line of JSON for each item, in their order. It is stored beside the rest.
	Lines []byte `json:"-"`
}

// commit is a stored chunk: this as JSON, a line feed, then the lines of the result,
// unless they are stored in pieces under Parts.
type commit struct {
	Result
	Blob  Blob   `json:"blob"`
	Parts string `json:"parts,omitempty"`
}

func (c *commit) encode(lines []byte) []byte {
	head, _ := json.Marshal(c) // plain data
	return append(append(head, '\n'), lines...)
}

// decodeCommit reads a stored chunk; lines is nil if it is stored in pieces.
func decodeCommit(value []byte) (c commit, lines []byte, err error) {
	head, lines, found := bytes.Cut(value, []byte{'\n'})
	if err = json.Unmarshal(head, &c); err != nil || !found {
		return c, nil, fmt.Errorf("a stored result of a job is damaged: %w", err)
	}
	return c, lines, nil
}

// The states of a job. Those after stateRunning are ends.
const (
	StateQueued    = "queued"
	StateRunning   = "running"
	StateCompleted = "completed"
	StateFailed    = "failed"
	StateCancelled = "cancelled"
	StateLate      = "late" // the deadline has passed before all items had a result
)

// end is how a job ended. It is stored once.
type end struct {
	State    string         `json:"state"`
	Reason   string         `json:"reason,omitempty"`
	Ended    time.Time      `json:"ended"`
	Answered int            `json:"answered"`
	Failed   int            `json:"failed,omitempty"`
	Score    slo.Score      `json:"score"`
	Ran      map[string]int `json:"ran,omitempty"`
	Bytes    int            `json:"bytes"` // of the results
}

// start says that a process began or continued a job.
type start struct {
	At     time.Time `json:"at"`
	Chunks int       `json:"chunks"` // stored by then
}
