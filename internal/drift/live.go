package drift

import "math"

// Live is an estimate of how accurate a variant is on what is served.
type Live struct {
	Items     int64 // observations in it; 0: there is no estimate, and all else is 0
	Mean      float64
	Low, High float64 // both hold with probability 0.9 at any one time
}

// live combines what labels and shadow runs say of a variant. Labels are proof. What shadow
// runs say holds as far as the fall of the reference is known. If there are both, each gets
// half of the probability to miss and the interval is what both allow, so it is about as
// narrow as the better of the two. If they exclude each other, the labels count.
func (m *Monitor) live(variant int) Live {
	w := &m.variants[variant]
	fromLabels := func(miss float64) Live { return w.labels.estimate(miss) }
	fromShadows := func(miss float64) Live {
		// Where the reference has become wrong, the variant may have been right: then its
		// accuracy has not fallen with the reference's.
		l, fall := w.shadows.estimate(miss), m.fall()
		l.Low = clip(m.fromShadows(variant, l.Low))
		l.Mean = clip(m.fromShadows(variant, l.Mean) + fall/2)
		l.High = clip(m.fromShadows(variant, l.High) + fall)
		return l
	}
	labelled := w.labels.live.n > 0
	shadowed := w.shadows.live.n > 0 && variant != m.spec.Reference && !math.IsNaN(m.spec.Variants[variant].Agreement)
	switch {
	case labelled && shadowed:
		l, s := fromLabels(boundMiss/2), fromShadows(boundMiss/2)
		if both := l.and(s); both.Low <= both.High {
			return both
		}
		return fromLabels(boundMiss)
	case labelled:
		return fromLabels(boundMiss)
	case shadowed:
		return fromShadows(boundMiss)
	}
	return Live{}
}

// estimate returns the mean of a source and its bounds.
func (s *source) estimate(miss float64) Live {
	return Live{Items: int64(math.Round(s.live.n)), Mean: s.live.mean(), Low: s.live.low(s.fractional, miss), High: s.live.high(s.fractional, miss)}
}

// and returns what two estimates of the same number say together. The narrower one has the
// more weight in the mean.
func (l Live) and(other Live) Live {
	both := Live{Items: l.Items + other.Items, Low: max(l.Low, other.Low), High: min(l.High, other.High)}
	a, b := l.High-l.Low, other.High-other.Low
	a, b = a*a, b*b
	if a+b == 0 {
		a, b = 1, 1
	}
	both.Mean = max(both.Low, min(both.High, (l.Mean*b+other.Mean*a)/(a+b)))
	return both
}
