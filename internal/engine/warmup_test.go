package engine_test

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// warmedUp starts an engine, which ends with the test, and returns the items that it
// warmed up with.
func warmedUp(t *testing.T, served engine.Served, fail func(fake.Run) error) ([]runtime.Item, error) {
	t.Helper()
	var items []runtime.Item
	rt := fake.New(fake.Config{Instant: true, Fail: func(r fake.Run) error {
		items = append(items, r.Items...)
		return fail(r)
	}})
	e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Instances: 1, Threads: 1, QueueItemsMax: 10, QueueJobsMax: 10,
		Log: slog.New(slog.DiscardHandler)}, rt)
	if err == nil {
		drain(t, e)
	}
	return items, err
}

func never(fake.Run) error { return nil }

func TestWarmUpRunsASample(t *testing.T) {
	m, err := modelpkg.Load("../../models/digits")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := modelpkg.FindProfile(m, "cpu")
	if err != nil {
		t.Fatal(err)
	}
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.Profile), m)
	if err != nil {
		t.Fatal(err)
	}
	items, err := warmedUp(t, engine.Served{Model: m, Profile: profile}, never)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		for i := range item {
			if !bytes.Equal(item[i], set.Item(0)[i]) {
				t.Fatalf("input %s is not the first sample's", m.Inputs[i].Name)
			}
		}
	}
}

func TestWarmUpHasTheProfilesLengths(t *testing.T) {
	for _, test := range []struct {
		profiled, most int64
		want           int
	}{{5, 9, 5}, {0, 9, 9}, {0, 0, 1}} {
		served := pair()
		served.Model.Inputs[1].Max = test.most
		if test.profiled > 0 {
			served.Profile.Lengths = map[string]int64{"large": test.profiled}
		}
		items, err := warmedUp(t, served, never)
		if err != nil {
			t.Fatal(err)
		}
		if last := items[len(items)-1]; len(last[1]) != test.want {
			t.Errorf("profiled with %d, max %d: length %d, want %d", test.profiled, test.most, len(last[1]), test.want)
		}
	}
}

// TestAModelThatRejectsZerosIsServed warms up with ones, or with declared numbers.
func TestAModelThatRejectsZerosIsServed(t *testing.T) {
	noZeros := func(r fake.Run) error {
		if slices.ContainsFunc(r.Items, func(item runtime.Item) bool { return item[0][0] == 0 }) {
			return errors.New("division by zero")
		}
		return nil
	}
	if _, err := warmedUp(t, pair(), noZeros); err != nil {
		t.Error(err)
	}
	served := pair()
	served.Model.Inputs[0].Range = &modelpkg.Range{Low: 3, High: 9}
	items, err := warmedUp(t, served, noZeros)
	if err != nil || items[0][0][0] != 3 {
		t.Errorf("%v, %v", items[0], err)
	}
}

func TestAFailedWarmUpSaysWhatItTried(t *testing.T) {
	boom := errors.New("boom")
	_, err := warmedUp(t, pair(), func(fake.Run) error { return boom })
	if !errors.Is(err, boom) || slo.KindOf(err) != slo.KindInternal || !strings.Contains(err.Error(), "warming up pair, variant small: with zeros, where the package allows them: ") {
		t.Error(err)
	}
}

// TestWarmUpEncodesNumbers decodes the ones of every element type.
func TestWarmUpEncodesNumbers(t *testing.T) {
	ones := map[tensor.DType][]byte{
		tensor.Bool: {1}, tensor.Uint8: {1}, tensor.Int8: {1}, tensor.Uint16: {1, 0}, tensor.Int16: {1, 0}, tensor.FP16: {0, 0x3c}, tensor.BF16: {0x80, 0x3f},
		tensor.Uint32: {1, 0, 0, 0}, tensor.Int32: {1, 0, 0, 0}, tensor.FP32: {0, 0, 0x80, 0x3f},
		tensor.Uint64: {1, 0, 0, 0, 0, 0, 0, 0}, tensor.Int64: {1, 0, 0, 0, 0, 0, 0, 0}, tensor.FP64: {0, 0, 0, 0, 0, 0, 0xf0, 0x3f},
	}
	for d, one := range ones {
		served := pair()
		served.Model.Inputs[0].DType = d
		items, err := warmedUp(t, served, func(r fake.Run) error {
			if bytes.Equal(r.Items[0][0], make([]byte, len(r.Items[0][0]))) {
				return errors.New("zeros")
			}
			return nil
		})
		if last := items[len(items)-1][0]; err != nil || !bytes.Equal(last, bytes.Repeat(one, 4)) {
			t.Errorf("%v: % x, %v", d, last, err)
		}
	}
}
