package drift

// Fall is a sequential test of whether the mean of numbers in [0, 1] has fallen below a
// given mean. It may look after every number: while the mean is as given, it raises at most
// one false alarm in 1/alarmRate numbers on average.
type Fall struct{ test detector }

// NewFall returns a test that has observed nothing.
func NewFall(mean float64) *Fall { return &Fall{newDetector(clip(mean))} }

// Observe observes a number and reports whether the mean has fallen. After an alarm the
// test begins again.
func (f *Fall) Observe(x float64) bool {
	if f.test.step(clip(x), 0) < 1/alarmRate {
		return false
	}
	f.test = newDetector(f.test.mean)
	return true
}
