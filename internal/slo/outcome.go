package slo

// Outcome is how an item or a job ended. It is a label in metrics and reports; an
// Error is a message for people and clients.
type Outcome uint8

// The outcomes. Every item and every job ends with exactly one of them.
const (
	OnTime     Outcome = iota + 1 // it ran, and was answered by its deadline
	Late                          // it ran, and was answered after its deadline
	Shed                          // it did not run, because it could not be on time or a queue was full
	Infeasible                    // it did not run, because its modalities do not reach its floor
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

// Ran reports whether the item ran to its end.
func (o Outcome) Ran() bool { return o == OnTime || o == Late }
