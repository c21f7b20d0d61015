package score

import "math"

// Confident reports whether answers of the metric have a confidence that their numbers
// give. For the others it is not known how to read one: an embedding's depends on the
// gallery, and a number that should be near the label tells nothing about how near it is.
func (m Metric) Confident() bool { return m.of().confidence != nil }

// Confidence returns the confidence of an answer, the numbers of the first output: the
// higher, the more likely the answer is right. It has no scale and is no probability. It
// is NaN without numbers, or with one that is not a number.
func (m Metric) Confidence(answer []float64) float64 {
	if len(answer) == 0 {
		return math.NaN()
	}
	return m.of().confidence(m, answer)
}

// Confidences returns the confidence of each stored answer; nil if the metric has none
// or the answers' numbers were not kept.
func (m Metric) Confidences(a Answers) []float64 {
	switch {
	case !m.Confident():
		return nil
	case a.Confidence != nil:
		list := make([]float64, len(a.Confidence))
		for i, c := range a.Confidence {
			list[i] = float64(c)
		}
		return list
	case a.Values == nil || len(a.Scores) == 0:
		return nil
	}
	list, width := make([]float64, len(a.Scores)), len(a.Values)/len(a.Scores)
	for i := range list {
		list[i] = m.Confidence(a.Values[i*width : (i+1)*width])
	}
	return list
}

// topScore is the score of the best class. Stored answers have it with 32 bits.
func topScore(_ Metric, answer []float64) float64 {
	top := math.Inf(-1)
	for _, v := range answer {
		if v != v {
			return v
		}
		top = max(top, v)
	}
	return float64(float32(top))
}

// distance is the least distance of a number from where its prediction changes.
func distance(m Metric, answer []float64) float64 {
	return nearestTo(m.limit(), answer)
}

// magnitude is the least distance of a number from zero, where its sign changes.
func magnitude(_ Metric, answer []float64) float64 { return nearestTo(0, answer) }

func nearestTo(limit float64, answer []float64) float64 {
	least := math.Inf(1)
	for _, v := range answer {
		if v != v {
			return v
		}
		least = min(least, math.Abs(v-limit))
	}
	return least
}
