package modelpkg

import "slices"

// Isolation says what stands between a model's graphs and the server.
type Isolation string

// The ways to isolate graphs.
const (
	IsolationNone    Isolation = ""        // they run in the server's process
	IsolationProcess Isolation = "process" // each instance runs in a process of its own
)

// isolation reads how the package wants its graphs isolated.
func (r *report) isolation(w word, m *Model) Isolation {
	if r.OneOf(w.Or("none"), "isolation", "none", string(IsolationProcess)) != string(IsolationProcess) {
		return IsolationNone
	}
	if len(m.Variants) > 0 && !slices.ContainsFunc(m.Variants, func(v Variant) bool { return v.Remote == nil }) {
		r.At(w.Place, "isolation: process is for graphs of the package; all variants run on other servers")
	}
	return IsolationProcess
}
