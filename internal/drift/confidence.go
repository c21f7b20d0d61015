package drift

import "math"

// confidenceRuns is the least number of answers whose mean confidence is used.
const confidenceRuns = 30

// dropFactor is by how much an accuracy is assumed to fall, as a multiple of the fall of
// the mean confidence. Models are too sure of unusual data: over five shifts of the example
// model, the accuracy of the reference fell by 1.0 to 1.5 times as much as its confidence.
const dropFactor = 1.5

// confidence follows how confident a variant is since the data have changed. It is a hint,
// not a proof, so it is used only while other evidence proves that they have changed.
type confidence struct {
	usual    float64 // in the profile; NaN: not known
	live     estimate
	schedule schedule
}

// begin starts the mean with what an alarm has seen since the change began. If it has begun
// before, that is earlier still.
func (c *confidence) begin(r run) {
	if c.live.n == 0 {
		c.live = estimate{n: float64(r.confidences), sum: r.confidence}
		c.live.bound()
	}
}

func (c *confidence) forget() { *c = confidence{usual: c.usual} }

// observe observes a confidence. Moved means that the drop is to be computed again.
func (c *confidence) observe(x float64) Change {
	c.live.add(x)
	if c.schedule.due(c.live.n) {
		return Moved
	}
	return None
}

// drop returns by how much the accuracy is assumed to be lower.
func (c *confidence) drop() float64 {
	if c.live.n < confidenceRuns || math.IsNaN(c.usual) {
		return 0
	}
	return dropFactor * max(0, c.usual-c.live.mean())
}

// calm is a test that the reference is again as confident as in the profile, while no
// variant that labels have lowered answers requests.
type calm struct {
	started bool
	test    detector
	proven  bool
}

// observe observes a confidence of the reference, and reports whether it is proven.
func (c *calm) observe(x, usual float64) bool {
	if !c.started {
		*c = calm{started: true, test: newDetector(clip(1 - usual + restoreSlack))}
	}
	c.proven = c.proven || c.test.step(1-x, math.NaN()) >= 1/restoreRate
	return c.proven
}
