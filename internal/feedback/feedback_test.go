package feedback

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// model has two variants and three classes.
func model() (*modelpkg.Model, *modelpkg.Profile) {
	m := &modelpkg.Model{Name: "m", Version: "1", Digest: "sha256:1", Labels: []string{"a", "b", "c"},
		Outputs:  []modelpkg.Spec{{Name: "y", DType: tensor.FP32, Shape: tensor.Shape{3}}},
		Variants: []modelpkg.Variant{{Name: "small"}, {Name: "large"}}}
	p := &modelpkg.Profile{Variants: []modelpkg.VariantProfile{
		{Name: "small", Accuracy: modelpkg.AccuracyMean{Mean: 0.8}}, {Name: "large", Accuracy: modelpkg.AccuracyMean{Mean: 0.9}}}}
	return m, p
}

// classes is an output whose best class of each item is the one given.
func classes(best ...int) tensor.Tensor {
	out := tensor.Tensor{Name: "y", DType: tensor.FP32, Shape: tensor.Shape{int64(len(best)), 3}}
	for _, class := range best {
		for i := range 3 {
			v := float32(0.1)
			if i == class {
				v = 0.8
			}
			out.Data = binary.LittleEndian.AppendUint32(out.Data, math.Float32bits(v))
		}
	}
	return out
}

// answerOf is an answer with one variant.
func answerOf(p *modelpkg.Profile, id string, at slo.Instant, best ...int) Answer {
	return Answer{ID: id, Job: "j-" + id, Output: classes(best...), Variants: make([]int, len(best)), Expected: 800_000, Low: 700_000, Profile: p, Answered: at}
}

func labels(id string, sampled bool, classes ...float64) oip.Feedback {
	f := oip.Feedback{ID: id, Sampled: sampled}
	for _, c := range classes {
		f.Labels = append(f.Labels, oip.Label{Numbers: []float64{c}})
	}
	return f
}

// take takes records and checks the counts.
func take(t *testing.T, s *Store, m *modelpkg.Model, now slo.Instant, want oip.FeedbackResult, records ...oip.Feedback) {
	t.Helper()
	got, err := s.Take(m, now, records)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("took %+v, %v; want %+v", got, err, want)
	}
}

const hour = slo.Instant(time.Hour)

func TestLabels(t *testing.T) {
	m, p := model()
	var told []Evidence
	s := New(Config{Keep: KeepDefault, ItemsMax: 100, Sink: func(e []Evidence) { told = append(told, e...) }})
	s.Remember(m, answerOf(p, "one", hour, 2))
	a := answerOf(p, "two", 2*hour, 0, 1, 2)
	a.Variants, a.Expected, a.Failed = []int{0, 1, 1}, 850_000, []int{2} // the mean of .8 and .9
	s.Remember(m, a)

	take(t, s, m, 3*hour, oip.FeedbackResult{Accepted: 1}, labels("one", true, 2))
	take(t, s, m, 3*hour, oip.FeedbackResult{Duplicate: 1}, labels("one", false, 0)) // the first label stays
	take(t, s, m, 3*hour, oip.FeedbackResult{Duplicate: 1}, labels("j-one", true, 0))
	take(t, s, m, 3*hour, oip.FeedbackResult{Accepted: 1, Unanswered: 1, Unknown: 2, UnknownIDs: []string{"three"}},
		oip.Feedback{ID: "j-two", Labels: []oip.Label{{}, {Names: []string{"a"}}, {Names: []string{"c"}}}}, labels("three", true, 0, 1))
	take(t, s, m, 3*hour, oip.FeedbackResult{Accepted: 1, Duplicate: 1}, oip.Feedback{ID: "two", Scores: []*float64{new(0.25), new(1.0), nil}, Sampled: true})

	want := []Evidence{{"m", "1", "small", 1, true, hour}, {"m", "1", "large", 0, false, 2 * hour}, {"m", "1", "small", 0.25, true, 2 * hour}}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told %v, want %v", told, want)
	}
	wall := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	f := s.Report(m, 3*hour, wall, true)
	if len(f.Variants) != 2 || f.Unknown != 2 || f.KeptItems != 4 || f.Digest != m.Digest {
		t.Fatalf("report %+v", f)
	}
	small, large := f.Variants[0], f.Variants[1]
	if small.Accepted != 2 || small.Duplicate != 2 || small.Selected.Items != 0 || small.Sampled.Items != 2 || small.Sampled.Right != 1 || small.Sampled.Accuracy != 0.625 ||
		small.Sampled.Promised != 0.8 || small.Sampled.PromisedLow != 0.7 || len(small.Sampled.Scores) != 2 {
		t.Errorf("small: %+v", small)
	}
	if !small.Sampled.First.Equal(wall.Add(-2*time.Hour)) || !small.Sampled.Last.Equal(wall.Add(-time.Hour)) {
		t.Errorf("from %v to %v", small.Sampled.First, small.Sampled.Last)
	}
	low, high := score.Wilson(0, 1)
	if large.Unanswered != 1 || large.Duplicate != 1 || large.Selected.Items != 1 || large.Selected.Right != 0 || large.Selected.Low != round(low) || large.Selected.High != round(high) ||
		large.Selected.Promised != 0.9 || large.Selected.Scores != nil || large.Sampled.Items != 0 {
		t.Errorf("large: %+v", large)
	}
	if f := s.Report(m, 3*hour, wall, false); f.Digest != "" || f.Variants[0].Sampled.Scores != nil {
		t.Errorf("without details: %+v", f)
	}
}

// TestLabelsOfRoutes: what a cascade answers counts for the cascade. An item that its gate
// wanted to send on, but was answered before, says nothing of either.
func TestLabelsOfRoutes(t *testing.T) {
	m, p := model()
	var told []Evidence
	s := New(Config{Keep: KeepDefault, ItemsMax: 100, Sink: func(e []Evidence) { told = append(told, e...) }})
	a := answerOf(p, "r", hour, 0, 1, 2, 1)
	cascade := Route{Name: "small>large<0.9", Accuracy: 880_000}
	a.Variants, a.Expected = []int{0, 1, 0, 0}, 860_000
	a.Routes = []Route{cascade, cascade, {Name: "small", Accuracy: 800_000}, {Name: cascade.Name, Accuracy: cascade.Accuracy, Partial: true}}
	s.Remember(m, a)
	take(t, s, m, 2*hour, oip.FeedbackResult{Accepted: 4}, labels("r", true, 0, 1, 0, 1))
	want := []Evidence{{"m", "1", cascade.Name, 1, true, hour}, {"m", "1", cascade.Name, 1, true, hour}, {"m", "1", "small", 0, true, hour}, {"m", "1", "small", 1, false, hour}}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told %v, want %v", told, want)
	}
	f := s.Report(m, 2*hour, time.Now(), false)
	if len(f.Variants) != 2 || f.Variants[1].Name != cascade.Name || f.Variants[1].Sampled.Right != 2 || f.Variants[1].Sampled.Promised != 0.88 || f.Variants[0].Selected.Items != 1 {
		t.Errorf("report %+v", f)
	}
}

// TestAllOrNothing checks that a call with a wrong record counts none, and says which is
// wrong and why.
func TestAllOrNothing(t *testing.T) {
	m, p := model()
	s := New(Config{Keep: KeepDefault, ItemsMax: 100})
	s.Remember(m, answerOf(p, "one", 0, 2))
	s.Remember(m, answerOf(p, "two", 0, 2, 1))
	spoilt := answerOf(p, "nan", 0, 1)
	binary.LittleEndian.PutUint32(spoilt.Output.Data, math.Float32bits(float32(math.NaN())))
	s.Remember(m, spoilt)
	for want, bad := range map[string]oip.Feedback{
		`record 1: request "two" has 2 items, and 1 labels or scores were given`:      labels("two", true, 2),
		`record 1: request "two" has 2 items, and 3 labels or scores`:                 {ID: "two", Scores: []*float64{nil, nil, new(1.0)}},
		`record 1: item 0: the label is 3; the model has the classes 0 to 2`:          labels("one", true, 3),
		`record 1: item 1: the label is 7; the model has the classes 0 to 2`:          labels("unknown", true, 0, 7),
		`record 1: item 0: the label is "d", which is none of the classes`:            {ID: "one", Labels: []oip.Label{{Names: []string{"d"}}}},
		`record 1: item 0 of "nan": the score of class 0 is not a number`:             labels("nan", true, 1),
		`record 1: item 0: the label has 2 numbers; it must be one number per sample`: {ID: "one", Labels: []oip.Label{{Numbers: []float64{1, 2}}}},
	} {
		_, err := s.Take(m, 0, []oip.Feedback{labels("one", true, 2), bad})
		if err == nil || !strings.Contains(err.Error(), want) || slo.KindOf(err) != slo.KindInvalid {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := s.Take(m, 0, []oip.Feedback{labels("one", true, 3)}); err == nil || strings.Contains(err.Error(), "record") {
		t.Errorf("an error of the only record names it: %v", err)
	}
	take(t, s, m, 0, oip.FeedbackResult{Accepted: 1}, labels("one", true, 2))
}

// TestLargeAnswers checks that only scores are taken where the answer was not kept.
func TestLargeAnswers(t *testing.T) {
	m, p := model()
	m.Outputs[0].Shape = tensor.Shape{2000}
	s := New(Config{Keep: KeepDefault, ItemsMax: 100})
	a := answerOf(p, "one", 0, 1)
	a.Output = tensor.Tensor{Name: "y", DType: tensor.FP32, Shape: tensor.Shape{1, 2000}, Data: make([]byte, 8000)}
	s.Remember(m, a)
	if _, err := s.Take(m, 0, []oip.Feedback{labels("one", true, 2)}); err == nil || !strings.Contains(err.Error(), "more than 4096 bytes an item are too large: give scores") {
		t.Error(err)
	}
	take(t, s, m, 0, oip.FeedbackResult{Accepted: 1}, oip.Feedback{ID: "one", Scores: []*float64{new(1.0)}})
	external, _ := score.New("external")
	m.Scoring, m.Digest = external, "sha256:2"
	s.Remember(m, answerOf(p, "two", 0, 1))
	if _, err := s.Take(m, 0, []oip.Feedback{labels("two", true, 2)}); err == nil || !strings.Contains(err.Error(), "give scores") {
		t.Error(err)
	}
	take(t, s, m, 0, oip.FeedbackResult{Accepted: 1}, oip.Feedback{ID: "two", Scores: []*float64{new(1.0)}})
	if f := s.Report(m, 0, time.Now(), false); f.KeptBytes != 0 {
		t.Errorf("%d bytes are kept that no label can use", f.KeptBytes)
	}
}

// TestForgets checks the bounds: time, items, and bytes; and which of two requests with one
// id is found.
func TestForgets(t *testing.T) {
	m, p := model()
	s := New(Config{Keep: time.Hour, ItemsMax: 4})
	s.Remember(m, answerOf(p, "old", 0, 0))
	take(t, s, m, hour, oip.FeedbackResult{Accepted: 1}, labels("old", true, 0))
	take(t, s, m, hour+1, oip.FeedbackResult{Unknown: 1, UnknownIDs: []string{"old"}}, labels("old", true, 0))
	s.Remember(m, answerOf(p, "twice", hour, 0))
	again := answerOf(p, "twice", hour, 1)
	again.Job = "j-again"
	s.Remember(m, again)
	take(t, s, m, hour, oip.FeedbackResult{Accepted: 1}, labels("twice", true, 1)) // the newer one
	take(t, s, m, hour, oip.FeedbackResult{Duplicate: 1}, labels("j-again", true, 1))
	take(t, s, m, hour, oip.FeedbackResult{Accepted: 1}, labels("j-twice", true, 1))
	s.Remember(m, answerOf(p, "three", hour, 0, 0, 0)) // 4 + 1 items: the older "twice" goes
	take(t, s, m, hour, oip.FeedbackResult{Unknown: 1, UnknownIDs: []string{"j-twice"}}, labels("j-twice", true, 1))
	take(t, s, m, hour, oip.FeedbackResult{Duplicate: 1}, labels("twice", true, 1))
	if f := s.Report(m, hour, time.Now(), false); f.KeptItems != 4 || f.KeptBytes != 4*12 || f.Variants[0].Sampled.Items != 3 || f.Variants[0].Sampled.Right != 2 {
		t.Errorf("%+v", f)
	}
	s.Remember(m, answerOf(p, "huge", hour, 0, 0, 0, 0, 0))
	take(t, s, m, hour, oip.FeedbackResult{Unknown: 5, UnknownIDs: []string{"huge"}}, labels("huge", true, 0, 0, 0, 0, 0))
	// An id that is another request's job does not hide that request.
	s.Remember(m, answerOf(p, "j-three", hour, 0))
	take(t, s, m, hour, oip.FeedbackResult{Accepted: 3}, labels("j-three", true, 0, 0, 0))
}

// TestReplacedModels checks that another model of the same version starts anew, and that
// models that are not served any more are forgotten.
func TestReplacedModels(t *testing.T) {
	m, p := model()
	served := m.Digest
	s := New(Config{Keep: time.Hour, ItemsMax: 4, Served: func(_, _, digest string) bool { return digest == served }})
	s.Remember(m, answerOf(p, "one", 0, 0))
	other := *m
	other.Digest, served = "sha256:2", "sha256:2"
	s.Remember(&other, answerOf(p, "two", 0, 0))
	take(t, s, &other, 0, oip.FeedbackResult{Accepted: 1, Unknown: 1, UnknownIDs: []string{"one"}}, labels("one", true, 0), labels("two", true, 0))
	if len(s.books) != 1 {
		t.Errorf("%d books", len(s.books))
	}
}

// TestManyAtOnce is for the race detector, and checks that no label counts twice.
func TestManyAtOnce(t *testing.T) {
	m, p := model()
	var mu sync.Mutex
	told := 0
	s := New(Config{Keep: time.Hour, ItemsMax: 500, Sink: func(e []Evidence) { mu.Lock(); told += len(e); mu.Unlock() }})
	var group sync.WaitGroup
	accepted := make([]int, 4)
	for w := range accepted {
		group.Go(func() {
			for i := range 500 {
				s.Remember(m, answerOf(p, fmt.Sprint(i), slo.Instant(i), i%3))
				r, err := s.Take(m, slo.Instant(i), []oip.Feedback{labels(fmt.Sprint(i/2), true, 1), labels("j-"+fmt.Sprint(i), false, 1)})
				if err != nil {
					t.Error(err)
				}
				accepted[w] += r.Accepted
				s.Report(m, slo.Instant(i), time.Now(), true)
			}
		})
	}
	group.Wait()
	f := s.Report(m, 500, time.Now(), true)
	if sum := accepted[0] + accepted[1] + accepted[2] + accepted[3]; sum != told || sum != f.Variants[0].Accepted || sum == 0 {
		t.Errorf("%d accepted, %d told, report %+v", sum, told, f)
	}
	if f.KeptItems != 500 {
		t.Errorf("%d items are kept", f.KeptItems)
	}
}

// TestQueue compares the queue with a slice, over many chunks.
func TestQueue(t *testing.T) {
	var q queue[int]
	var want []int
	first := 0
	for i := range 400 {
		n := (i * 997) % 1500
		list := make([]int, n)
		for k := range list {
			list[k] = first + len(want) + k
		}
		if i%2 == 0 {
			q.putAll(list)
		} else {
			for _, v := range list {
				q.put(v)
			}
		}
		want = append(want, list...)
		if drop := (i * 661) % 1700; drop <= len(want) {
			q.drop(drop)
			want, first = want[drop:], first+drop
		}
		if q.len() != len(want) || q.len() > 0 && *q.at(q.head) != want[0] {
			t.Fatalf("round %d: %d elements, want %d", i, q.len(), len(want))
		}
		if got := q.get(nil, q.head, q.len()); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("round %d differs", i)
		}
		if most := q.len()/chunkLen + 2; len(q.chunks) > most {
			t.Fatalf("%d chunks for %d elements", len(q.chunks), q.len())
		}
	}
}

// BenchmarkRemember is what feedback costs a request, when the store is full.
func BenchmarkRemember(b *testing.B) {
	m, p := model()
	s := New(Config{Keep: time.Hour, ItemsMax: 100_000})
	answers := make([]Answer, 1<<18)
	for i := range answers {
		answers[i] = answerOf(p, fmt.Sprint(i), slo.Instant(i), i%3)
	}
	for i := range 100_000 {
		s.Remember(m, answers[i])
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		s.Remember(m, answers[i%len(answers)])
		i++
	}
}
