package workload

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestParseSpread(t *testing.T) {
	for in, want := range map[string]Spread{"0.97": Fixed(0.97), "uniform:0.9:0.98": {0.9, 0.98}, "0": {}} {
		got, err := ParseSpread(in, ParseShare)
		if err != nil || got != want {
			t.Errorf("%q: %v %v", in, got, err)
		}
		if got.String() != in {
			t.Errorf("%q is printed as %q", in, got.String())
		}
	}
	if got, err := ParseSpread("uniform:50ms:0.2s", ParseSeconds); err != nil || got != (Spread{0.05, 0.2}) {
		t.Errorf("deadlines: %v %v", got, err)
	}
	for _, in := range []string{"", "x", "1.2", "NaN", "uniform:0.9", "uniform:0.9:0.8", "uniform:a:b", "normal:0:1"} {
		if got, err := ParseSpread(in, ParseShare); err == nil {
			t.Errorf("%q is read as %v", in, got)
		}
	}
	for _, in := range []string{"100", "-5ms", "2h"} {
		if got, err := ParseSpread(in, ParseSeconds); err == nil {
			t.Errorf("deadline %q is read as %v", in, got)
		}
	}
}

func TestReadTrace(t *testing.T) {
	rates, err := ReadTrace(strings.NewReader("second,requests\n5,10\n6,20\n9,2.5\n"), 2)
	if err != nil || !slices.Equal(rates, []float64{20, 40, 0, 0, 5}) {
		t.Errorf("%v %v", rates, err)
	}
	for in, say := range map[string]string{
		"":                                   "the file is not a trace",
		"time,count\n1,2\n":                  "line 1",
		"second,requests\n":                  "no seconds",
		"second,requests\n1,x\n":             "line 2",
		"second,requests\n1,-1\n":            "line 2",
		"second,requests\n1,Inf\n":           "line 2",
		"second,requests\n1,1\n1,1\n":        "line 3",
		"second,requests\n1,1\n9999999,1\n":  "line 3",
		"second,requests\n1,1\n2,1,3\n":      "line 3",
		"second,requests\n0,1\n-1,1\n":       "line 3",
		"second,requests\n-9000000000,1\n":   "line 2",
		"second,requests\n0,1\n\"2,1\n3,1\n": "line",
	} {
		if _, err := ReadTrace(strings.NewReader(in), 1); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %v, want %q", in, err, say)
		}
	}
	if _, err := ReadTrace(strings.NewReader("second,requests\n0,1\n"), 0); err == nil {
		t.Error("a scale of 0 is accepted")
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add("second,requests\n0,1\n1,2\n")
	f.Add("second,requests\n5,1e3\n\n7,2")
	f.Fuzz(func(t *testing.T, text string) {
		rates, err := ReadTrace(strings.NewReader(text), 1.5)
		if err != nil {
			return
		}
		if len(rates) == 0 || len(rates) > traceSecondsMax+1 {
			t.Fatalf("%d seconds", len(rates))
		}
		for _, r := range rates {
			if !(r >= 0) || math.IsInf(r, 0) {
				t.Fatalf("a rate of %v", r)
			}
		}
	})
}
