package fake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

func model() *modelpkg.Model {
	return &modelpkg.Model{
		Name:       "m",
		Modalities: []modelpkg.Modality{{Name: "a", Inputs: []int{0}}, {Name: "b", Inputs: []int{1, 2}}},
		Inputs: []modelpkg.Input{
			{Spec: modelpkg.Spec{Name: "a", DType: tensor.FP32, Shape: tensor.Shape{4}}},
			{Spec: modelpkg.Spec{Name: "b", DType: tensor.Uint8, Shape: tensor.Shape{3}}, Modality: 1},
			{Spec: modelpkg.Spec{Name: "c", DType: tensor.Int64, Shape: tensor.Shape{-1}}, Modality: 1},
		},
		Outputs: []modelpkg.Spec{
			{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{10}},
			{Name: "length", DType: tensor.Int16, Shape: tensor.Shape{-1}},
		},
		Variants: []modelpkg.Variant{
			{Name: "a", Modalities: 1, Inputs: []int{0}},
			{Name: "b", Modalities: 2, Inputs: []int{1, 2}},
			{Name: "ab", Modalities: 3, Inputs: []int{0, 1, 2}},
		},
		Limits: modelpkg.Limits{BatchItemsMax: 8},
	}
}

func profile() *modelpkg.Profile {
	batches := []modelpkg.BatchProfile{{Items: 1, P50MS: 2}, {Items: 2, P50MS: 3}, {Items: 4, P50MS: 7}}
	return &modelpkg.Profile{Model: "m", Variants: []modelpkg.VariantProfile{
		{Name: "a", Batches: batches[:1]},
		{Name: "b", Batches: batches},
		{Name: "ab", Batches: batches},
	}}
}

func items(n int) []runtime.Item {
	all := make([]runtime.Item, n)
	for i := range all {
		all[i] = runtime.Item{bytes.Repeat([]byte{byte(i)}, 16), {1, 2, byte(i)}, make([]byte, 8)}
	}
	return all
}

func load(t *testing.T, config fake.Config) runtime.Instance {
	t.Helper()
	in, err := fake.New(config).Load(t.Context(), model(), runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestConformance(t *testing.T) {
	for _, slots := range []int{1, 3} {
		t.Run(fmt.Sprintf("slots=%d", slots), func(t *testing.T) {
			runtimetest.Run(t, runtimetest.Suite{
				Open:  func(testing.TB) runtime.Runtime { return fake.New(fake.Config{Slots: slots}) },
				Model: model(),
			})
		})
	}
}

func TestRunTakesTheTimeOfTheProfile(t *testing.T) {
	for _, test := range []struct {
		name    string
		config  fake.Config
		variant int
		items   int
		want    time.Duration
	}{
		{"measured", fake.Config{}, 1, 2, 3 * time.Millisecond},
		{"between", fake.Config{}, 1, 3, 5 * time.Millisecond},
		{"beyond", fake.Config{}, 1, 8, 15 * time.Millisecond},
		{"one size only", fake.Config{}, 0, 3, 6 * time.Millisecond},
		{"slower", fake.Config{Scale: 1.5}, 1, 2, 4500 * time.Microsecond},
		{"instant", fake.Config{Instant: true}, 1, 2, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.config.Profiles = []*modelpkg.Profile{profile()}
				in := load(t, test.config)
				start := time.Now()
				if _, err := in.Run(t.Context(), test.variant, items(test.items)); err != nil {
					t.Fatal(err)
				}
				if got := time.Since(start); got != test.want {
					t.Errorf("took %v, want %v", got, test.want)
				}
			})
		})
	}
}

func TestACancelEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := load(t, fake.Config{Profiles: []*modelpkg.Profile{profile()}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := in.Run(ctx, 1, items(4))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestAnswersTellVariantsAndItemsApart(t *testing.T) {
	m, batch := model(), items(8)
	in := load(t, fake.Config{})
	rows := map[string]bool{}
	for v := range m.Variants {
		out, err := in.Run(t.Context(), v, batch)
		if err != nil {
			t.Fatal(err)
		}
		for i, item := range batch {
			if got, want := out[0].Row(i), fake.Row(m, 0, v, item); !bytes.Equal(got, want) {
				t.Errorf("variant %d, item %d: % x, want % x", v, i, got, want)
			}
			rows[string(out[0].Row(i))] = true
		}
	}
	if len(rows) < 6 { // of 10 possible ones
		t.Errorf("24 answers are only %d different ones", len(rows))
	}
}

func TestFailures(t *testing.T) {
	broken := errors.New("broken")
	var seen []fake.Run
	in := load(t, fake.Config{Fail: func(r fake.Run) error {
		seen = append(seen, r)
		switch r.Number {
		case 1:
			return broken
		case 3:
			return errors.Join(runtime.ErrLost, broken)
		}
		return nil
	}})
	for run, want := range []slo.Kind{0, slo.KindInternal, 0, slo.KindUnavailable, slo.KindUnavailable} {
		_, err := in.Run(t.Context(), 2, items(run+1))
		if want == 0 && err == nil {
			continue
		}
		if err == nil || slo.KindOf(err) != want || !errors.Is(err, broken) || errors.Is(err, runtime.ErrLost) != (run >= 3) {
			t.Errorf("run %d: %v (kind %v), want kind %v", run, err, slo.KindOf(err), want)
		}
	}
	if len(seen) != 4 || seen[2].Model != "m" || seen[2].Variant != 2 || len(seen[2].Items) != 3 {
		t.Errorf("asked %d times, the third time about %+v", len(seen), seen[2])
	}
}

func TestAProfileMustCoverWhatIsLoaded(t *testing.T) {
	p := profile()
	p.Variants = p.Variants[:1]
	rt := fake.New(fake.Config{Profiles: []*modelpkg.Profile{p}})
	if _, err := rt.Load(t.Context(), model(), runtime.Options{Threads: 1}); slo.KindOf(err) != slo.KindInvalid {
		t.Errorf("%v, want an error of kind invalid", err)
	}
	if _, err := rt.Load(t.Context(), model(), runtime.Options{Threads: 1, Variants: []int{0}}); err != nil {
		t.Error(err)
	}
}

func TestHangLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		rt := fake.New(fake.Config{HangLoad: func(m *modelpkg.Model) <-chan struct{} {
			if m.Name != "m" {
				t.Errorf("asked for %q", m.Name)
			}
			return release
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := rt.Load(ctx, model(), runtime.Options{Threads: 1}); slo.KindOf(err) != slo.KindDeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a load that hangs: %v", err)
		}
		time.AfterFunc(time.Second, func() { close(release) })
		if _, err := rt.Load(t.Context(), model(), runtime.Options{Threads: 1}); err != nil {
			t.Error(err)
		}
	})
}

func TestHangRunIgnoresTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		in := load(t, fake.Config{HangRun: func(r fake.Run) <-chan struct{} {
			if r.Number > 0 {
				return nil
			}
			return release
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		time.AfterFunc(time.Minute, func() { close(release) })
		began := time.Now()
		for range 2 {
			_, _ = in.Run(ctx, 0, items(1))
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("the runs took %v, want a minute", took)
		}
	})
}

func TestAnswer(t *testing.T) {
	want := []tensor.Tensor{{Name: "any", Shape: tensor.Shape{1, 0}}}
	answer := error(nil)
	in := load(t, fake.Config{Answer: func(fake.Run) ([]tensor.Tensor, error) { return want, answer }})
	if got, err := in.Run(t.Context(), 0, items(1)); err != nil || len(got) != 1 || got[0].Name != "any" {
		t.Errorf("%v, %v", got, err)
	}
	answer = slo.E("", slo.KindInvalid, "no")
	if _, err := in.Run(t.Context(), 0, items(1)); slo.KindOf(err) != slo.KindInvalid {
		t.Error(err)
	}
}
