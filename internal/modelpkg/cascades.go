package modelpkg

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Cascades are the certified cascades of a profile: an item runs on a cheap variant and,
// if the answer's confidence is below a threshold, on a more expensive one.
type Cascades struct {
	Pilot  int `json:"pilot"`  // samples that chose what to certify; the others certified it
	Tested int `json:"tested"` // points that were certified; the bounds hold for all of them together
	// Points are those of them that some floor needs, by cascade, the boldest first.
	Points []CascadePoint `json:"points,omitempty"`
	// Gates are the points of gates that some floor needs, by gate, the cheapest first.
	Gates []GatePoint `json:"gates,omitempty"`
}

// CascadePoint is a cascade with a threshold, as measured on the samples that are not the
// pilot.
type CascadePoint struct {
	First     string  `json:"first"` // the declared variant that every item runs on
	Then      string  `json:"then"`  // the one for items whose confidence is below the threshold
	Threshold float64 `json:"threshold"`

	Accuracy AccuracyMean `json:"accuracy"` // of all items
	// Cautious is a lower bound of Accuracy that holds at a confidence of 0.8 for this
	// point alone. Floors without a confidence are planned with it.
	Cautious   float64 `json:"cautious"`
	WentOn     int     `json:"went_on"` // items of these samples whose confidence is below the threshold
	WentOnLow  float64 `json:"went_on_low"`
	WentOnHigh float64 `json:"went_on_high"` // with WentOnLow, the 95 % interval of their share
	Stopped    float64 `json:"accuracy_stopped"`
	OnFirst    float64 `json:"accuracy_on_first"` // of the items that went on, by First's answers
	OnThen     float64 `json:"accuracy_on_then"`  // of the same items, by Then's answers
}

// Name returns the name of the cascade: "image>all".
func (p *CascadePoint) Name() string { return p.First + ">" + p.Then }

// Named returns the name of the point for two variants of the cascade:
// "image>all<0.95", for items whose confidence is below 0.95.
func (p *CascadePoint) Named(first, then string) string {
	return first + ">" + then + "<" + strconv.FormatFloat(p.Threshold, 'g', -1, 64)
}

// Share returns the share of items that go on.
func (p *CascadePoint) Share() float64 { return float64(p.WentOn) / float64(p.Accuracy.Samples) }

// Round rounds the point's figures to the unit of accuracies, as profiles have them. The
// threshold stays exact.
func (p *CascadePoint) Round() {
	for _, x := range []*float64{&p.WentOnLow, &p.WentOnHigh, &p.Stopped, &p.OnFirst, &p.OnThen} {
		*x = micro(*x)
	}
}

// cautiousMiss is the probability with which Cautious may miss. Planning chooses among
// many points those that look best on the samples, so with the mean itself more floors
// would be broken than kept.
const cautiousMiss = 0.2

// MeasuredCascade returns the accuracies of a point from its scores. It is one of so many
// that were tested.
func MeasuredCascade(scores []float64, tested int) (a AccuracyMean, cautious float64) {
	a = MeasuredScore(scores, CascadeBounds(tested))
	if a.Interval == score.ByWilson {
		cautious = score.LowerShare(a.Correct, a.Samples, cautiousMiss)
	} else {
		cautious = score.LowerMean(scores, cautiousMiss)
	}
	return a, math.Floor(cautious*float64(slo.AccuracyUnit)) / float64(slo.AccuracyUnit)
}

// Planned returns the accuracy that the point is planned with if no confidence is asked.
func (p *CascadePoint) Planned() slo.Accuracy {
	return slo.Accuracy(math.Round(p.Cautious * float64(slo.AccuracyUnit)))
}

// VariantBounds returns the number to divide a probability of a miss by, for the bound
// of each variant of a profile. If cascades were searched, variants have half of the
// probability and cascades the other half.
func (p *Profile) VariantBounds(m *Model) int {
	if p.Cascades != nil {
		return 2 * len(m.Bases())
	}
	return len(m.Bases())
}

// CascadeBounds returns the number to divide a probability of a miss by, for the bound of
// each of so many points of cascades.
func CascadeBounds(tested int) int { return 2 * max(1, tested) }

// Low returns the lower bounds of a point's accuracy.
func (c *Cascades) Low(p *CascadePoint) slo.Bounds {
	return p.Accuracy.Bounds(CascadeBounds(c.Tested))
}

// check checks the cascades as far as planning relies on them.
func (c *Cascades) check(m *Model) error {
	if c == nil {
		return nil
	}
	if n := len(c.Points) + len(c.Gates); c.Tested < n {
		return fmt.Errorf("%d points were tested, and there are %d", c.Tested, n)
	}
	for i := range c.Gates {
		if err := c.Gates[i].check(m); err != nil {
			return fmt.Errorf("gate %s: %w", c.Gates[i].Name(), err)
		}
	}
	bases := m.Bases()
	for i := range c.Points {
		p := &c.Points[i]
		if !slices.Contains(bases, p.First) || !slices.Contains(bases, p.Then) || p.First == p.Then {
			return fmt.Errorf("cascade %s is not of two variants of the model", p.Name())
		}
		if !m.Scoring.Confident() {
			return fmt.Errorf("cascade %s: answers of the metric %s have no confidence", p.Name(), m.Metric)
		}
		if err := p.check(); err != nil {
			return fmt.Errorf("cascade %s: %w", p.Name(), err)
		}
	}
	return nil
}

func (p *CascadePoint) check() error {
	if err := p.Accuracy.check(); err != nil {
		return err
	}
	if p.WentOn < 0 || p.WentOn > p.Accuracy.Samples || math.IsNaN(p.Threshold) || math.IsInf(p.Threshold, 0) {
		return fmt.Errorf("%d of %d items went on below %v, which is not possible", p.WentOn, p.Accuracy.Samples, p.Threshold)
	}
	for _, x := range []float64{p.Cautious, p.WentOnLow, p.WentOnHigh, p.Stopped, p.OnFirst, p.OnThen} {
		if !(x >= 0 && x <= 1) {
			return errors.New("shares and accuracies are numbers from 0 to 1")
		}
	}
	return nil
}
