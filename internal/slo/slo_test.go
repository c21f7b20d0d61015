package slo_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

func TestInstantsSaturate(t *testing.T) {
	last := slo.Instant(math.MaxInt64 - 5)
	for _, c := range []struct {
		from slo.Instant
		add  time.Duration
		want slo.Instant
	}{{0, 3, 3}, {10, -4, 6}, {last, 5, slo.Never}, {last, 6, slo.Never}, {slo.Never, -7, slo.Never}} {
		if got := c.from.Add(c.add); got != c.want {
			t.Errorf("%d + %d = %d, want %d", c.from, c.add, got, c.want)
		}
	}
	if got := slo.Never.Sub(5); got != math.MaxInt64 {
		t.Errorf("never - 5 = %v", got)
	}
	if got := slo.Instant(9).Sub(4); got != 5 {
		t.Errorf("9 - 4 = %v", got)
	}
}

func TestAccuracies(t *testing.T) {
	for share, want := range map[float64]slo.Accuracy{0: 0, 1: slo.AccuracyUnit, 0.97: 970_000, 0.9999996: 1_000_000, 4e-7: 0} {
		if got, err := slo.AccuracyOf(share); err != nil || got != want {
			t.Errorf("%v is %d, %v, want %d", share, got, err, want)
		}
	}
	for _, share := range []float64{-1e-9, 1.0000001, math.NaN(), math.Inf(1)} {
		if got, err := slo.AccuracyOf(share); err == nil {
			t.Errorf("%v is accepted as %d", share, got)
		}
	}
	for text, want := range map[string]string{
		"97": "97: an accuracy is between 0 and 1; did you mean 0.97?", "973": "973: an accuracy is between 0 and 1; did you mean 0.973?",
		"97.3": "97.3: an accuracy is between 0 and 1; did you mean 0.973?", "100": "100: an accuracy is between 0 and 1; did you mean 1?",
		"9.7": "9.7: an accuracy is between 0 and 1", "2": "2: an accuracy is between 0 and 1", "973.5": "973.5: an accuracy is between 0 and 1",
		"1001": "1001: an accuracy is between 0 and 1", "-1": "-1: an accuracy is between 0 and 1",
		"NaN":     `"NaN": an accuracy is a number between 0 and 1, such as 0.97`,
		"+Inf":    `"+Inf": an accuracy is a number between 0 and 1, such as 0.97`,
		"0x1p-3":  `"0x1p-3": an accuracy is a number between 0 and 1, such as 0.97`,
		"0.9_7":   `"0.9_7": an accuracy is a number between 0 and 1, such as 0.97`,
		"97%":     `"97%": an accuracy is a number between 0 and 1, such as 0.97`,
		"":        `"": an accuracy is a number between 0 and 1, such as 0.97`,
		"1e-2000": "", "1": "", "0": "", ".97": "", "9.7e-1": "",
	} {
		got, err := slo.ParseAccuracy(text)
		if err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%q is read as %v, %v; want %q", text, got, err, want)
		}
	}
	if s := slo.Accuracy(970_000).String(); s != "0.97" {
		t.Errorf("0.97 is printed as %q", s)
	}
	// Rounding down never turns a broken floor into a kept one.
	floor := slo.Accuracy(970_000)
	if mean := (floor.Times(3) - 1).Mean(3); mean >= floor {
		t.Errorf("one unit below the floor has the mean %v", mean)
	}
	if mean := floor.Times(100_000).Mean(100_000); mean != floor {
		t.Errorf("100,000 items at the floor have the mean %v", mean)
	}
	if mean := slo.Score(5).Mean(0); mean != 0 {
		t.Errorf("no items have the mean %v", mean)
	}
}

func TestModalities(t *testing.T) {
	all := []string{"image", "audio", "text"}
	set := slo.Modalities(0b101)
	if set.Len() != 2 || set.Join(all) != "image+text" || !set.Has(0b100) || set.Has(0b110) || !set.Has(0) {
		t.Errorf("%b: %d members, %s", set, set.Len(), set.Join(all))
	}
}

func TestLateRules(t *testing.T) {
	for _, rule := range []slo.LateRule{slo.LateDrop, slo.LateRun} {
		if got, err := slo.ParseLateRule(rule.String()); err != nil || got != rule {
			t.Errorf("%v is read back as %v, %v", rule, got, err)
		}
	}
	if _, err := slo.ParseLateRule("later"); err == nil {
		t.Error(`"later" is a late rule`)
	}
}

func TestEverythingHasAName(t *testing.T) {
	seen := map[string]bool{}
	name := func(s fmt.Stringer) {
		if s.String() == "unknown" || s.String() == "" || seen[s.String()] {
			t.Errorf("%#v is named %q", s, s)
		}
		seen[s.String()] = true
	}
	for _, k := range slo.Kinds() {
		name(k)
	}
	clear(seen)
	for _, o := range slo.Outcomes() {
		name(o)
	}
	clear(seen)
	for _, r := range slo.Reasons() {
		name(r)
	}
	if slo.Outcome(0).String() != "unknown" || slo.Outcome(200).String() != "unknown" || slo.Kind(200).String() != "unknown" || slo.Reason(200).String() != "unknown" {
		t.Error("what does not exist has a name")
	}
	if !slo.Late.Ran() || slo.Shed.Ran() || slo.Failed.Ran() {
		t.Error("only what was answered has run")
	}
}

// TestReasonsAreComplete checks that the table has all of every reason, that no
// two are told alike, and that a job that has a reason has not run to its end.
func TestReasonsAreComplete(t *testing.T) {
	told := map[string]slo.Reason{}
	for _, r := range slo.Reasons() {
		says := r.Sentence()
		if other, twice := told[says]; says == "" || twice {
			t.Errorf("%v is told as %q, as is %v", r, says, other)
		}
		told[says] = r
		if !slices.Contains(slo.Outcomes(), r.Outcome()) || r.Outcome().Ran() != (r == slo.ReasonNone) {
			t.Errorf("%v goes with outcome %v", r, r.Outcome())
		}
		if internal := r == slo.ReasonRuntime || r == slo.ReasonInstanceLost; (r.Kind() == slo.KindInternal) != internal {
			t.Errorf("%v is told as an error of kind %v", r, r.Kind())
		}
	}
	none := slo.Reason(len(slo.Reasons()))
	if none.Outcome() != 0 || none.Kind() != slo.KindInternal || none.Sentence() != "unknown" {
		t.Error("what does not exist is told")
	}
}

func TestErrorsKeepKindAndCause(t *testing.T) {
	cause := errors.New("no such file")
	err := fmt.Errorf("starting: %w", slo.E("load x", slo.KindNotFound, "open: %w", cause))
	if slo.KindOf(err) != slo.KindNotFound || !errors.Is(err, cause) || err.Error() != "starting: load x: open: no such file" {
		t.Errorf("%v has kind %v", err, slo.KindOf(err))
	}
	if slo.KindOf(cause) != slo.KindInternal {
		t.Errorf("an error without a kind has kind %v", slo.KindOf(cause))
	}
}
