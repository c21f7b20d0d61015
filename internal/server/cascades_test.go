package server_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/tensor"
)

// heldOutBatch is a request with some held-out samples.
func heldOutBatch(m *modelpkg.Model, set *modelpkg.Set, first, count int) client.Request {
	r := client.Request{Model: m.Name}
	for i, in := range m.Inputs {
		var data []byte
		for k := range count {
			data = append(data, set.Item(first + k)[i]...)
		}
		r.Inputs = append(r.Inputs, tensor.Tensor{Name: in.Name, DType: in.DType, Shape: append(tensor.Shape{int64(count)}, in.Shape...), Data: data})
	}
	return r
}

// TestCascadesKeepTheirFloor serves the example from its profile and sends all held-out
// samples with a certified floor that cascades reach at less cost than mixes of variants:
// the answers of items that stop and of items that go on are those of the variants, and
// their measured accuracy is at least the floor.
func TestCascadesKeepTheirFloor(t *testing.T) {
	const floor = 0.99
	rt, err := ort.Open(t.Context(), ort.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close() })
	s := startServer(t, func(cfg *server.Config) { cfg.Runtime, cfg.Policy = rt, plan.PolicyAggressive })
	m := s.Served()[0].Model
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New("http://"+s.Addr().String(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const batch = 100
	right, wentOn, n := 0.0, 0, 0
	for first := 0; first+batch <= set.Len(); first += batch {
		r := heldOutBatch(m, set, first, batch)
		r.MinAccuracy, r.AccuracyConfidence = floor, 0.95
		answer, err := c.Infer(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(answer.Variant, ">") || answer.AnsweredBy == "" || answer.AccuracyLow < floor || answer.ExpectedAccuracy < answer.AccuracyLow {
			t.Fatalf("ran %s, answered by %q, expected %v, at least %v", answer.Variant, answer.AnsweredBy, answer.ExpectedAccuracy, answer.AccuracyLow)
		}
		for k := range batch {
			result, err := set.Score(answer.Outputs[0], k, first+k)
			if err != nil {
				t.Fatal(err)
			}
			right += result.Score
		}
		n += batch
		for part := range strings.SplitSeq(answer.AnsweredBy, ",") {
			if strings.HasPrefix(part, "all_int8:") {
				wentOn++
			}
		}
	}
	if t.Logf("%d held-out samples at a floor of %v: %.4f measured", n, floor, right/float64(n)); right/float64(n) < floor || wentOn == 0 {
		t.Errorf("measured %.4f on %d held-out samples, the floor is %v; items went on in %d requests", right/float64(n), n, floor, wentOn)
	}
}

// TestCascadeOfOneItem asks for one item at a time: the answer says the cascade, what
// answered and how sure the first variant was, and the output is that of the variant that
// answered.
func TestCascadeOfOneItem(t *testing.T) {
	rt, err := ort.Open(t.Context(), ort.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close() })
	s := startServer(t, func(cfg *server.Config) { cfg.Runtime, cfg.Policy = rt, plan.PolicyAggressive })
	m, profile := s.Served()[0].Model, s.Served()[0].Profile
	points := profile.Cascades.Points
	point := points[slices.IndexFunc(points, func(p modelpkg.CascadePoint) bool { return p.First == "text" })]
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New("http://"+s.Addr().String(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen := map[string]int{}
	for sample := range 40 {
		r := heldOutBatch(m, set, sample, 1)
		r.MinAccuracy = point.Planned().Float()
		answer, err := c.Infer(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		first, rest, _ := strings.Cut(answer.Variant, ">")
		then, _, _ := strings.Cut(rest, "<")
		i := slices.IndexFunc(points, func(p modelpkg.CascadePoint) bool { return p.Named(p.First, p.Then) == answer.Variant })
		if i < 0 {
			continue // a variant costs less
		}
		want := first
		if answer.Confidence < points[i].Threshold {
			want = then
		}
		if answer.AnsweredBy != want {
			t.Errorf("sample %d: confidence %v on %s, answered by %s", sample, answer.Confidence, answer.Variant, answer.AnsweredBy)
		}
		seen[answer.AnsweredBy]++
		alone := heldOutBatch(m, set, sample, 1)
		v := m.Variants[slices.IndexFunc(m.Variants, func(v modelpkg.Variant) bool { return v.Name == want })]
		alone.Modalities = [][]string{v.Modalities.Names(m.ModalityNames())}[0]
		again, err := c.Infer(t.Context(), alone)
		if err != nil {
			t.Fatal(err)
		}
		if again.Variant == want && !bytes.Equal(again.Outputs[0].Data, answer.Outputs[0].Data) {
			t.Errorf("sample %d: the answer of %s is not that of %s alone", sample, answer.Variant, want)
		}
	}
	if len(seen) < 2 {
		t.Errorf("answered by %v: the test shows nothing", seen)
	}
}

// TestNoCascades turns cascades off.
func TestNoCascades(t *testing.T) {
	s := startServer(t, func(cfg *server.Config) { atOnce(cfg); cfg.NoCascades = true })
	if served := s.Served()[0]; served.Routes != nil || served.Profile.Cascades == nil {
		t.Errorf("%d routes; cascades of the profile: %v", len(served.Routes), served.Profile.Cascades)
	}
}
