package replay

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
)

// lagMax is how late a request may be sent before the report counts it as late sent.
const lagMax = 5 * time.Millisecond

// Report is the result of one run, without the jobs of the warm-up. It is written as
// JSON; docs/replay.md describes every field.
type Report struct {
	Seconds   float64        `json:"seconds"`    // counted time: from the end of the warm-up to the last answer
	EndedSoon bool           `json:"ended_soon"` // stopped before the last arrival
	Offered   Amount         `json:"offered"`
	Served    Amount         `json:"served"` // answered with a result, on time or late
	Jobs      Outcomes       `json:"jobs"`
	Items     Outcomes       `json:"items"`
	Accuracy  Accuracy       `json:"accuracy"`
	JCT       JCT            `json:"jct_ms"`
	Variants  []VariantItems `json:"variants"` // most items first
	Generator Generator      `json:"generator"`
	Failures  []Failure      `json:"failures"` // most jobs first
}

// Amount counts jobs and items, and items per second.
type Amount struct {
	Jobs           int     `json:"jobs"`
	Items          int     `json:"items"`
	ItemsPerSecond float64 `json:"items_per_second"`
}

// Outcomes counts how jobs, or the items of jobs, ended.
type Outcomes struct {
	OnTime      int     `json:"on_time"`
	Late        int     `json:"late"`
	Shed        int     `json:"shed"`
	Infeasible  int     `json:"infeasible"`
	Cancelled   int     `json:"cancelled"`
	Failed      int     `json:"failed"`
	OnTimeShare float64 `json:"on_time_share"` // of all; the rest is late, shed, ...
	LateShare   float64 `json:"late_share"`    // 1 - on_time_share
}

// Accuracy is the mean score measured with labels beside the expected one, over the
// items that have a result.
type Accuracy struct {
	Measured float64 `json:"measured"`
	Low      float64 `json:"low"` // of the 95 % interval
	High     float64 `json:"high"`
	Expected float64 `json:"expected"` // mean of the expected accuracies in the answers
	// ExpectedIs says where Expected lies: "within" the interval, "above" or "below"
	// it; "" if nothing was measured.
	ExpectedIs string  `json:"expected_is"`
	Right      int     `json:"right"`       // items whose score is 1
	Items      int     `json:"items"`       // that were scored; 0 where the metric is external
	Samples    int     `json:"samples"`     // different ones
	Floor      float64 `json:"floor"`       // mean floor
	BelowFloor int     `json:"below_floor"` // jobs with an expected accuracy below their floor
}

// JCT is the distribution of job completion times in milliseconds, from the
// instant a job was meant to be sent to its answer, over jobs with a result.
type JCT struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

// Generator says whether the load was sent as intended.
type Generator struct {
	CPU         float64 `json:"cpu"` // cores this process used
	LagP99MS    float64 `json:"lag_p99_ms"`
	LagMaxMS    float64 `json:"lag_max_ms"`
	LagShare    float64 `json:"lag_share"` // jobs sent more than 5 ms late
	InFlightMax int     `json:"in_flight_max"`
	Concurrency int     `json:"concurrency"` // the bound on it
}

// Failure is one reason why jobs have no result.
type Failure struct {
	Message string `json:"message"`
	Jobs    int    `json:"jobs"`
}

// Report makes the report of the log.
func (l *Log) Report() Report {
	window := l.length - l.warmup
	r := Report{Seconds: max(0, window.Seconds()), EndedSoon: l.early, Variants: []VariantItems{}, Failures: []Failure{}}
	var times, lags []time.Duration
	var floors, promised slo.Score
	var answers tally
	ran := map[string]int{}
	late := 0
	for i, job := range l.jobs {
		rec := l.records[i]
		if !rec.sent || job.At < l.warmup {
			continue
		}
		n := len(job.Samples)
		r.Offered.add(n)
		r.Jobs.add(rec.outcome, 1)
		r.Items.add(rec.outcome, n)
		lags = append(lags, rec.lag)
		if rec.lag > lagMax {
			late++
		}
		if !rec.outcome.Ran() {
			continue
		}
		r.Served.add(n)
		times = append(times, rec.latency)
		floors += job.Floor.Times(n)
		promised += rec.expected.Times(n)
		for _, v := range l.mix(i) {
			ran[v.Variant] += v.Items
		}
		if rec.expected < job.Floor {
			r.Accuracy.BelowFloor++
		}
		for k, sample := range job.Samples {
			if rec.scored {
				answers.add(sample, float64(l.scores[job.First+k]))
			}
		}
	}
	r.rates(l.arrivals())
	r.Jobs.share(r.Offered.Jobs)
	r.Items.share(r.Offered.Items)
	r.accuracy(answers, floors, promised)
	r.JCT = jctOf(times)
	r.Generator = l.generator(lags, late)
	r.Variants, r.Failures = mostFirst(ran), l.causes()
	return r
}

// arrivals returns the counted time in which jobs arrived: from the end of the warm-up
// until the next job would have arrived. The last gap is assumed to be the mean gap.
func (l *Log) arrivals() time.Duration {
	count, last := 0, time.Duration(0)
	for i, job := range l.jobs {
		if l.records[i].sent && job.At >= l.warmup {
			count++
			last = max(last, job.At)
		}
	}
	if count < 2 {
		return max(0, l.length-l.warmup)
	}
	span := last - l.warmup
	return span + span/time.Duration(count-1)
}

// rates sets the items per second: offered over the time of arrivals; served over the
// same time or, if answers took longer, over the whole counted time.
func (r *Report) rates(arrivals time.Duration) {
	if s := arrivals.Seconds(); s > 0 {
		r.Offered.ItemsPerSecond = float64(r.Offered.Items) / s
		r.Served.ItemsPerSecond = float64(r.Served.Items) / max(s, r.Seconds)
	}
}

func (a *Amount) add(items int) {
	a.Jobs++
	a.Items += items
}

func (o *Outcomes) add(outcome slo.Outcome, n int) {
	switch outcome {
	case slo.OnTime:
		o.OnTime += n
	case slo.Late:
		o.Late += n
	case slo.Shed:
		o.Shed += n
	case slo.Infeasible:
		o.Infeasible += n
	case slo.Cancelled:
		o.Cancelled += n
	case slo.Failed:
		o.Failed += n
	}
}

func (o *Outcomes) share(all int) {
	if all > 0 {
		o.OnTimeShare = float64(o.OnTime) / float64(all)
		o.LateShare = float64(all-o.OnTime) / float64(all)
	}
}

// accuracy sets the measured and the expected accuracy.
func (r *Report) accuracy(answers tally, floors, promised slo.Score) {
	mean, items := answers.interval()
	a := &r.Accuracy
	a.Measured, a.Low, a.High = mean.mean, mean.low, mean.high
	a.Items, a.Right, a.Samples = items, answers.right, len(answers.items)
	a.Floor, a.Expected = floors.Mean(r.Served.Items).Float(), promised.Mean(r.Served.Items).Float()
	switch {
	case items == 0:
	case a.Expected > a.High:
		a.ExpectedIs = "above"
	case a.Expected < a.Low:
		a.ExpectedIs = "below"
	default:
		a.ExpectedIs = "within"
	}
}

// Verdict is a sentence that says that the expected accuracy is outside the measured
// interval; "" if it is inside.
func (a Accuracy) Verdict() string {
	how := "worse"
	switch a.ExpectedIs {
	case "above":
	case "below":
		how = "better"
	default:
		return ""
	}
	return fmt.Sprintf("expected %.4f lies %s the 95 %% interval %.4f-%.4f of what was measured: the model does %s on this data than its profile says.",
		a.Expected, a.ExpectedIs, a.Low, a.High, how)
}

func (l *Log) generator(lags []time.Duration, late int) Generator {
	slices.Sort(lags)
	g := Generator{LagP99MS: stats.Milliseconds(stats.Quantile(lags, 0.99)), LagMaxMS: stats.Milliseconds(stats.Quantile(lags, 1)),
		InFlightMax: l.peak, Concurrency: l.bound}
	if len(lags) > 0 {
		g.LagShare = float64(late) / float64(len(lags))
	}
	if l.length > 0 {
		g.CPU = l.cpu.Seconds() / l.length.Seconds()
	}
	return g
}

// mostFirst lists how many items ran on each variant, most items first.
func mostFirst(ran map[string]int) []VariantItems {
	out := make([]VariantItems, 0, len(ran))
	for name, items := range ran {
		out = append(out, VariantItems{Variant: name, Items: items})
	}
	slices.SortFunc(out, func(a, b VariantItems) int {
		return cmp.Or(cmp.Compare(b.Items, a.Items), cmp.Compare(a.Variant, b.Variant))
	})
	return out
}

func (l *Log) causes() []Failure {
	out := make([]Failure, 0, len(l.failures))
	for message, jobs := range l.failures {
		out = append(out, Failure{Message: message, Jobs: jobs})
	}
	slices.SortFunc(out, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Jobs, a.Jobs), cmp.Compare(a.Message, b.Message))
	})
	return out
}

// jctOf computes the distribution of completion times.
func jctOf(times []time.Duration) JCT {
	if len(times) == 0 {
		return JCT{}
	}
	slices.Sort(times)
	var sum time.Duration
	for _, t := range times {
		sum += t
	}
	return JCT{Mean: stats.Milliseconds(sum / time.Duration(len(times))), P50: stats.Milliseconds(stats.Quantile(times, 0.5)),
		P90: stats.Milliseconds(stats.Quantile(times, 0.9)), P99: stats.Milliseconds(stats.Quantile(times, 0.99)), Max: stats.Milliseconds(stats.Quantile(times, 1))}
}
