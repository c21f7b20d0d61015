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
	Cancelled                     // by the client
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
