package replay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/oip"
)

// Labels that are sent together, and how long the first of them waits for the others.
const (
	labelBatch = 100
	labelWait  = 100 * time.Millisecond
)

// labelsWaitMax bounds the labels that wait to be sent; beyond that the load waits.
const labelsWaitMax = 10_000

// feedbackStream is the random stream of the choice of requests to label.
const feedbackStream = 1 << 31

// Labeller brings the labels of some answers back to the server, as people who check a
// random sample of the answers do.
type Labeller struct {
	share  float64
	seed   uint64
	target *Target

	records  chan oip.Feedback
	done     chan struct{}
	accepted int
	err      error // the first
}

// Label makes the target bring back the labels of a random share of the answers, until the
// labeller is closed. The same seed labels the same requests.
func (t *Target) Label(ctx context.Context, share float64, seed uint64) (*Labeller, error) {
	if t.set.Unmeasured() != "" {
		return nil, errors.New("the samples have no labels: the metric is external")
	}
	l := &Labeller{share: share, seed: seed, target: t, records: make(chan oip.Feedback, labelsWaitMax), done: make(chan struct{})}
	go l.send(ctx)
	t.labeller = l
	return l, nil
}

// answered chooses whether to label an answer.
func (l *Labeller) answered(job Job, answer *client.Response) {
	if l == nil || rand.New(rand.NewPCG(l.seed, feedbackStream+uint64(job.First))).Float64() >= l.share {
		return
	}
	record := oip.Feedback{ID: answer.Job, Sampled: true}
	for _, sample := range job.Samples {
		record.Labels = append(record.Labels, oip.Label{Numbers: l.target.set.Set.Labels.Row(int(sample))})
	}
	l.records <- record
}

// Close sends what waits, and returns how many labels the server took, or the first error.
// No job may be under way. The nil Labeller labels nothing.
func (l *Labeller) Close() (accepted int, err error) {
	if l == nil {
		return 0, nil
	}
	close(l.records)
	<-l.done
	return l.accepted, l.err
}

// send sends the records, several in a call.
func (l *Labeller) send(ctx context.Context) {
	defer close(l.done)
	for first := range l.records {
		batch := []oip.Feedback{first}
		timer := time.NewTimer(labelWait)
		for waiting := true; waiting && len(batch) < labelBatch; {
			select {
			case record, open := <-l.records:
				if waiting = open; open {
					batch = append(batch, record)
				}
			case <-timer.C:
				waiting = false
			}
		}
		timer.Stop()
		if l.err == nil {
			l.bring(ctx, batch)
		}
	}
}

// bring makes one call.
func (l *Labeller) bring(ctx context.Context, batch []oip.Feedback) {
	result, err := l.target.client.Feedback(ctx, l.target.set.Model.Name, batch...)
	if err != nil {
		l.err = fmt.Errorf("the labels were not taken: %w", err)
		return
	}
	l.accepted += result.Accepted
}
