package modelpkg

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
	graphs := len(m.Variants) == 0
	for v := range m.Variants {
		graphs = graphs || m.HasGraphs(v)
	}
	if !graphs {
		r.At(w.Place, "isolation: process is for graphs of the package; all variants run on other servers")
	}
	return IsolationProcess
}
