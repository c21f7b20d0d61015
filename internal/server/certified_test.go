package server_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestCertifiedFloors asks the real example for a floor that the estimate of a cheap
// variant reaches and its bound does not, over REST and gRPC.
func TestCertifiedFloors(t *testing.T) {
	const floor = 0.99 // image_text: estimated 0.9914, at least 0.9884 at 0.95
	s := startServer(t, atOnce)
	m, err := modelpkg.Load("../../models/digits")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := modelpkg.FindProfile(m, "cpu")
	if err != nil {
		t.Fatal(err)
	}
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"http://" + s.Addr().String(), "grpc://" + s.GRPCAddr().String()} {
		c, err := client.New(url, client.Options{GRPC: clientgrpc.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for confidence, level := range map[float64]float64{0: 0, 0.95: 0.95, 0.96: 0.975} {
			q := request(m, set.Item(0))
			q.MinAccuracy, q.AccuracyConfidence = floor, confidence
			answer, err := c.Infer(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if answer.AccuracyConfidence != level || answer.MinAccuracy != floor {
				t.Errorf("%s: understood a floor of %v at %v, want %v", url, answer.MinAccuracy, answer.AccuracyConfidence, level)
			}
			for i, v := range profile.Variants {
				if v.Name != answer.Variant {
					continue
				}
				shown := slo.ConfidenceShown
				if level > 0 {
					shown, _ = slo.ConfidenceOf(level)
				}
				low := profile.Variants[i].Accuracy.Bounds(profile.VariantBounds(m))[shown-1].Float()
				if answer.ExpectedAccuracy != v.Accuracy.Mean || answer.AccuracyLow != low || level > 0 && low < floor {
					t.Errorf("%s at %v ran %s: expected %v, at least %v; the profile has %v and %v", url, level, v.Name, answer.ExpectedAccuracy, answer.AccuracyLow, v.Accuracy.Mean, low)
				}
			}
		}
		q := request(m, set.Item(0))
		q.MinAccuracy, q.AccuracyConfidence = 0.996, 0.95 // all is estimated at 0.9971
		_, err = c.Infer(t.Context(), q)
		var refused *client.Error
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "at a confidence of 0.95") || !strings.Contains(err.Error(), "labelled samples in place of 9000 would reach it") {
			t.Errorf("%s: a floor above every bound: %v", url, err)
		}
	}
}
