// Package slo has the basic types of mosel: instants, accuracies, sets of modalities,
// what a client asked for (Objective), how a job ended (Outcome, Reason), and errors
// (Error). All other packages use these types, so this package imports none of them.
// It reads no clock and has no state.
package slo

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Instant is a point in time in nanoseconds since the driver's own epoch (the
// start of the process for the engine, the start of the run for the simulator).
// It is never wall-clock time, because it must not go back.
type Instant int64

// Never is later than every other instant; it means "no deadline".
const Never Instant = math.MaxInt64

// Add returns the instant d later, saturating at Never.
func (t Instant) Add(d time.Duration) Instant {
	if t == Never || (d > 0 && int64(t) > math.MaxInt64-int64(d)) {
		return Never
	}
	return t + Instant(d)
}

// Sub returns the time from u to t. If t is Never, it is the largest duration.
func (t Instant) Sub(u Instant) time.Duration {
	if t == Never {
		return math.MaxInt64
	}
	return time.Duration(t - u)
}

// Accuracy is a mean score, such as the share of right answers, in whole units of one
// millionth: 970000 is 0.97. Planning adds and compares accuracies as integers, so that no float
// is ever compared for equality. Sums over the items of a job are Score.
type Accuracy int32

// AccuracyUnit is the accuracy 1.0.
const AccuracyUnit Accuracy = 1_000_000

// Score is a sum of accuracies over items, in the units of Accuracy. A job of
// 100,000 items at accuracy 1 scores 10^11, so Score is 64 bits wide.
type Score int64

// AccuracyOf converts a share in [0, 1] to the nearest unit. It returns an error for
// NaN and for values outside the interval. The error may suggest a value: "97: an
// accuracy is between 0 and 1; did you mean 0.97?".
func AccuracyOf(share float64) (Accuracy, error) {
	if share >= 0 && share <= 1 {
		return Accuracy(math.Round(share * float64(AccuracyUnit))), nil
	}
	meant := 0.0
	switch {
	case share >= 10 && share <= 100: // percent
		meant = share / 100
	case share > 100 && share <= 1000 && share == math.Trunc(share): // thousandths
		meant = share / 1000
	}
	if meant > 0 {
		return 0, fmt.Errorf("%v: an accuracy is between 0 and 1; did you mean %v?", share, Accuracy(math.Round(meant*float64(AccuracyUnit))))
	}
	return 0, fmt.Errorf("%v: an accuracy is between 0 and 1", share)
}

// ParseAccuracy reads a share in [0, 1] in decimal form, such as "0.97". Errors
// contain the text, as those of AccuracyOf contain the number.
func ParseAccuracy(text string) (Accuracy, error) {
	share, err := strconv.ParseFloat(text, 64)
	if err != nil || strings.ContainsAny(text, "_xXnN") { // hexadecimal, with underscores, nan, inf
		return 0, fmt.Errorf("%.40q: an accuracy is a number between 0 and 1, such as 0.97", text)
	}
	return AccuracyOf(share)
}

// Float returns the accuracy as a share between 0 and 1.
func (a Accuracy) Float() float64 { return float64(a) / float64(AccuracyUnit) }

// Times returns the score of n items that each have accuracy a.
func (a Accuracy) Times(n int) Score { return Score(a) * Score(n) }

// String returns the shortest decimal form of a, such as "0.97".
func (a Accuracy) String() string { return strconv.FormatFloat(a.Float(), 'f', -1, 64) }

// Mean returns the score divided over n items, rounded down to a unit.
func (s Score) Mean(n int) Accuracy {
	if n <= 0 {
		return 0
	}
	return Accuracy(s / Score(n))
}

// Modalities is a set of a model's modalities: bit i stands for the i-th
// modality of its package. A model has at most ModalitiesMax of them.
type Modalities uint16

// ModalitiesMax is the largest number of modalities of one model. With one
// variant per subset even 8 would be 255 graphs; 16 leaves room.
const ModalitiesMax = 16

// Has reports whether every modality of sub is in m.
func (m Modalities) Has(sub Modalities) bool { return m&sub == sub }

// Len returns the number of modalities in the set.
func (m Modalities) Len() int { return bits.OnesCount16(uint16(m)) }

// Names lists the set's members out of all names, in their order.
func (m Modalities) Names(all []string) []string {
	names := make([]string, 0, m.Len())
	for i, name := range all {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Join prints the set as "image+text".
func (m Modalities) Join(all []string) string { return strings.Join(m.Names(all), "+") }

// LateRule says what to do with a job that can no longer be on time.
type LateRule uint8

// The late rules. LateDrop is the default: an answer after the deadline is useless
// to an interactive client, and running the job makes others late.
const (
	LateDrop LateRule = iota // refuse or drop the job
	LateRun                  // run the job and answer late
)

// String is the rule's name in requests and configuration.
func (r LateRule) String() string {
	if r == LateRun {
		return "run"
	}
	return "drop"
}

// ParseLateRule reads "drop" or "run".
func ParseLateRule(s string) (LateRule, error) {
	switch s {
	case "drop":
		return LateDrop, nil
	case "run":
		return LateRun, nil
	}
	return 0, fmt.Errorf("late rule %q is neither drop nor run", s)
}

// Objective is what a client asked of a job: the lowest expected accuracy, as the
// mean over the items; the instant by which it must be done; and what to do if that
// is impossible. Floor 0 accepts any accuracy; Deadline Never means no deadline.
type Objective struct {
	Floor Accuracy
	// Confidence asks that a lower bound of the accuracy, not the expected accuracy
	// itself, is at least the floor.
	Confidence Confidence
	Deadline   Instant
	Late       LateRule
	// NoRecovery leaves out variants that reconstruct modalities that an item does not
	// carry.
	NoRecovery bool
}

// Carried says what a number of consecutive items of a job carry.
type Carried struct {
	Items   int // >= 1
	Present Modalities
	Choice  Modalities // not 0: run exactly this subset
	Sizes   Sizes      // of the inputs with buckets
	// NoRecovery is that of the job's objective.
	NoRecovery bool
}

// Sizes are the buckets that the inputs of an item belong to: byte k holds the number of
// the bucket of the model's k-th input with buckets, counted from 1; 0 is none, because
// the input is absent. In a variant, 0 means that it does not read the input.
type Sizes uint64

// SizesMax bounds the inputs with buckets of one model, and BucketsMax those of one input.
const (
	SizesMax   = 8
	BucketsMax = 64
)

// With returns the sizes with the number of a bucket, counted from 0, for input k.
func (s Sizes) With(k, bucket int) Sizes { return s | Sizes(bucket+1)<<(8*k) }

// Bucket returns the number of the bucket of input k, counted from 0; -1: none.
func (s Sizes) Bucket(k int) int { return int(s>>(8*k)&0xff) - 1 }

// Suits reports whether an item with these sizes may run on a variant made for the
// others: the buckets of all inputs that the variant reads are the same.
func (s Sizes) Suits(variant Sizes) bool {
	for v := variant; v != 0; v, s = v>>8, s>>8 {
		if v&0xff != 0 && v&0xff != s&0xff {
			return false
		}
	}
	return true
}
