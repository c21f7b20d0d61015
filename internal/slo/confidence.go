package slo

import "fmt"

// Confidence is how sure it must be that a floor is kept: 0 asks for the expected
// accuracy, others are levels of confidence in a lower bound, by index from 1.
type Confidence uint8

// confidences are the levels. Requests may ask for any number; they get the next level.
var confidences = [ConfidenceLevels]float64{0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999}

// ConfidenceLevels is the number of levels, and ConfidenceShown the one of bounds that
// nobody asked for.
const (
	ConfidenceLevels            = 7
	ConfidenceShown  Confidence = 3
)

// ConfidenceOf returns the lowest level that is at least x.
func ConfidenceOf(x float64) (Confidence, error) {
	for i, level := range confidences {
		if x > 0 && x <= level {
			return Confidence(i + 1), nil
		}
	}
	if x > 1 && x < 100 {
		return 0, fmt.Errorf("a confidence is above 0 and at most %v; did you mean %v?", confidences[ConfidenceLevels-1], x/100)
	}
	return 0, fmt.Errorf("a confidence is above 0 and at most %v", confidences[ConfidenceLevels-1])
}

// Float returns the level as a number; 0 for Confidence 0.
func (c Confidence) Float() float64 {
	if c == 0 {
		return 0
	}
	return confidences[c-1]
}

// Bounds are lower bounds of an accuracy, by level of confidence: that of level c is at
// index c-1.
type Bounds [ConfidenceLevels]Accuracy
