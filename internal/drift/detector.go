package drift

// detector is a sequential test of the hypothesis that the mean of numbers in [0, 1] is at
// least a given one. It is an e-detector in CUSUM form (Shin, Ramdas and Rinaldo,
// E-detectors: a nonparametric framework for sequential change detection, 2024).
//
// Gamblers bet, each with a fixed share of its capital, that the next number is below the
// mean. If the mean is as claimed, no gambler can expect to gain. A gambler whose capital
// has shrunk below 1 begins again with 1, since the mean may fall at any time. If the
// average capital reaches a threshold t, the mean has fallen. While it has not, this takes
// at least t observations on average, whatever the distribution, and even if the numbers
// depend on each other.
type detector struct {
	mean    float64
	size    int // how many of bets may be used: at most all capital may be lost
	capital [len(bets)]float64
	runs    [len(bets)]run
}

// bets are the gamblers' bets, as multiples of the difference between the mean and a
// number. Small ones notice a small fall, large ones notice a large fall soon.
var bets = [...]float64{0.2, 0.5, 1, 2, 4, 8, 16}

// run is what a gambler has seen since it began again.
type run struct {
	n           int
	sum         float64
	confidences int
	confidence  float64 // their sum
}

func newDetector(mean float64) detector {
	d := detector{mean: mean}
	for d.size < len(bets) && bets[d.size]*(1-mean) < 1 {
		d.size++
	}
	return d
}

// step observes a number, and the confidence that belongs to it or NaN. It returns the
// average capital. The caller starts a new detector when that reaches its threshold, so no
// capital exceeds the threshold by more than the number of bets times one gain.
func (d *detector) step(x, confidence float64) float64 {
	total, gain := 0.0, d.mean-x
	for i := range d.size {
		c, r := d.capital[i], &d.runs[i]
		if c <= 1 {
			c, *r = 1, run{}
		}
		c *= 1 + bets[i]*gain
		r.n++
		r.sum += x
		if confidence == confidence {
			r.confidences++
			r.confidence += confidence
		}
		d.capital[i] = c
		total += c
	}
	return total / float64(d.size)
}

// value returns the average capital.
func (d *detector) value() float64 {
	total := 0.0
	for _, c := range d.capital[:d.size] {
		total += c
	}
	return total / float64(d.size)
}

// longest returns the run of the gambler with the most capital: when it began is the best
// guess of when the mean fell.
func (d *detector) longest() run {
	best := 0
	for i, c := range d.capital[:d.size] {
		if c > d.capital[best] {
			best = i
		}
	}
	return d.runs[best]
}
