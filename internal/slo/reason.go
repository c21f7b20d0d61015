package slo

// Reason says why an outcome was not "on time". It selects the error that a client
// gets; the outcome alone is too coarse (a shed request can be retried if the queue
// was full, but not if its deadline has passed).
type Reason uint8

// The reasons. The table below says what each of them means.
const (
	ReasonNone Reason = iota // it ran
	ReasonQueueFull
	ReasonTooBusy
	ReasonDeadlinePassed
	ReasonFloor
	ReasonNoVariant
	ReasonClient
	ReasonRuntime
	ReasonInstanceLost
	ReasonDraining
	ReasonYielded
	ReasonAway
	ReasonDrift
	reasonEnd
)

// reasons has for each reason its name, its outcome, the kind of its error, and a
// sentence that is used in errors and explanations. A job that ran has no reason;
// that sentence is for a client that did not want a late answer.
var reasons = [reasonEnd]struct {
	name     string
	outcome  Outcome
	kind     Kind
	sentence string
}{
	ReasonNone:      {"none", Late, KindDeadlineExceeded, "the answer came after the deadline"},
	ReasonQueueFull: {"queue_full", Shed, KindOverloaded, "the queue was full"},
	ReasonTooBusy: {"too_busy", Shed, KindOverloaded,
		"too busy: even the cheapest strategy that reaches the floor would have ended after the deadline"},
	ReasonDeadlinePassed: {"deadline_passed", Shed, KindDeadlineExceeded, "the deadline passed before all of it had run"},
	ReasonFloor:          {"floor_impossible", Infeasible, KindInfeasible, "no strategy reaches the accuracy floor with the modalities present"},
	ReasonNoVariant:      {"no_variant", Infeasible, KindInvalid, "no variant of the model runs on the modalities given"},
	ReasonClient:         {"client_cancelled", Cancelled, KindCancelled, "cancelled by the client"},
	ReasonRuntime:        {"runtime_failed", Failed, KindInternal, "the runtime failed"},
	ReasonInstanceLost:   {"instance_lost", Failed, KindInternal, "its instances were lost too often"},
	ReasonDraining:       {"draining", Shed, KindUnavailable, "the server is shutting down"},
	ReasonYielded:        {"yielded", Shed, KindOverloaded, "too busy: it made room for a client with less work in the queue"},
	ReasonDrift: {"drift", Infeasible, KindInfeasible,
		"answers score less than the model's profile says, and no strategy reaches the accuracy floor by what was measured while serving"},
	ReasonAway: {"server_away", Shed, KindUnavailable, "the server that runs the variants it needs is away"},
}

// Reasons lists all reasons in their order, ReasonNone first.
func Reasons() []Reason {
	list := make([]Reason, 0, reasonEnd)
	for r := range reasonEnd {
		list = append(list, r)
	}
	return list
}

// String is the reason's name in logs, metrics and traces.
func (r Reason) String() string {
	if r >= reasonEnd {
		return "unknown"
	}
	return reasons[r].name
}

// Outcome is the outcome of a job with this reason.
func (r Reason) Outcome() Outcome {
	if r >= reasonEnd {
		return 0
	}
	return reasons[r].outcome
}

// Kind is the kind of the error for this reason.
func (r Reason) Kind() Kind {
	if r >= reasonEnd {
		return KindInternal
	}
	return reasons[r].kind
}

// Sentence is the reason as a sentence for people. Callers may append details, such as
// the highest accuracy that was possible.
func (r Reason) Sentence() string {
	if r >= reasonEnd {
		return "unknown"
	}
	return reasons[r].sentence
}
