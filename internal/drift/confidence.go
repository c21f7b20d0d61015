package drift

import "math"

// confidenceRuns is the least number of shadow runs whose mean confidence is used.
const confidenceRuns = 30

// dropFactor is by how much an accuracy is assumed to fall, as a multiple of the fall of
// the mean confidence. Models are too sure of unusual data: over six shifts of the example
// model, the accuracy of the reference fell by 0.9 to 1.35 times as much as its confidence.
const dropFactor = 1.5

// confidence follows how confident the reference is, since the data have changed. It is a
// hint, not a proof, so it is used only while other evidence proves that they have changed.
type confidence struct {
	usual    float64 // in the profile; NaN: not known
	live     estimate
	schedule schedule
	calm     calm
}

// calm is a test that the confidence is again as in the profile, while no variant that
// labels have lowered answers requests.
type calm struct {
	started bool
	test    detector
	proven  bool
}

// begin starts the mean with what an alarm has seen since the change began. If it has begun
// before, that is earlier still.
func (c *confidence) begin(r run) {
	c.calm = calm{}
	if c.live.n == 0 {
		c.live = estimate{n: float64(r.confidences), sum: r.confidence}
		c.live.bound()
	}
}

// observe observes a confidence. Moved means that the drop is to be computed again.
func (c *confidence) observe(x float64) Change {
	if !math.IsNaN(c.usual) {
		if !c.calm.started {
			c.calm = calm{started: true, test: newDetector(clip(1 - c.usual + restoreSlack))}
		}
		c.calm.proven = c.calm.proven || c.calm.test.step(1-x, math.NaN()) >= 1/restoreRate
	}
	c.live.add(x)
	if c.schedule.due(c.live.n) {
		return Moved
	}
	return None
}

// drop returns by how much all accuracies are assumed to be lower.
func (c *confidence) drop() float64 {
	if c.live.n < confidenceRuns || math.IsNaN(c.usual) {
		return 0
	}
	return dropFactor * max(0, c.usual-c.live.mean())
}
