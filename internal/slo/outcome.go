package slo

// Outcome is how an item or a job ended. It is the label of metrics and
// reports; an Error is for humans and clients.
type Outcome uint8

// The outcomes. Every item and every job ends with exactly one of them.
const (
	OnTime     Outcome = iota + 1 // run, and answered by its deadline
	Late                          // run, and answered after its deadline
	Shed                          // not run: it could not be on time, or a queue was full
	Infeasible                    // not run: its floor cannot be met with the modalities it carries
	Cancelled                     // given up by the client
	Failed                        // the runtime or its instance failed
	outcomeEnd
)

var outcomeNames = [...]string{"", "on_time", "late", "shed", "infeasible", "cancelled", "failed"}

// Outcomes lists all outcomes in their order.
func Outcomes() []Outcome { return []Outcome{OnTime, Late, Shed, Infeasible, Cancelled, Failed} }

// String is the outcome's name in metrics and reports.
func (o Outcome) String() string {
	if o == 0 || o >= outcomeEnd {
		return "unknown"
	}
	return outcomeNames[o]
}

// Ran reports whether the item was run to its end.
func (o Outcome) Ran() bool { return o == OnTime || o == Late }

// Reason says why an outcome was not "on time". It selects the error a client
// sees; the outcome alone is too coarse (a shed request may be worth a retry
// because the queue was full, or not because its deadline has gone by).
type Reason uint8

// The reasons.
const (
	ReasonNone           Reason = iota
	ReasonQueueFull             // the bounded queue has no room
	ReasonTooBusy               // even its cheapest strategy would end after the deadline
	ReasonDeadlinePassed        // the deadline went by before it could run
	ReasonFloor                 // no variant of the modalities present reaches the floor
	ReasonNoVariant             // no variant runs on the modalities present
	ReasonClient                // the client cancelled
	ReasonRuntime               // the runtime returned an error
	ReasonInstanceLost          // its instance went away and nothing could take over
	ReasonDraining              // the server is shutting down
	ReasonYielded               // it made room for a client with less in the queue
	reasonEnd
)

var reasonNames = [...]string{"none", "queue_full", "too_busy", "deadline_passed", "floor_impossible",
	"no_variant", "client_cancelled", "runtime_failed", "instance_lost", "draining", "yielded"}

// String is the reason's name in logs and traces.
func (r Reason) String() string {
	if r >= reasonEnd {
		return "unknown"
	}
	return reasonNames[r]
}
