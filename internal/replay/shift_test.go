package replay

import (
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

func TestParseShift(t *testing.T) {
	for text, want := range map[string]string{
		"invert:image":       "",
		"swap:text":          "",
		"gain:audio:0.1":     "",
		"gain:audio:0":       "",
		"noise:image:5%":     "noise:image:0.05",
		"empty:text:30%":     "empty:text:0.3",
		"empty:text:1":       "",
		"labels:one,two:90%": "labels:one,two:0.9",
	} {
		s, err := ParseShift(text)
		if want == "" {
			want = text
		}
		if err != nil || s.String() != want {
			t.Errorf("%q is read as %q: %v", text, s, err)
		}
		if again, err := ParseShift(s.String()); err != nil || again.String() != want {
			t.Errorf("%q is read as %q: %v", s, again, err)
		}
	}
	for text, say := range map[string]string{
		"":                      "the shifts are invert:INPUT, gain:INPUT:FACTOR",
		"blur:image":            `there is no shift "blur"`,
		"invert":                `"invert" does not have the form invert:INPUT`,
		"invert:":               "invert:INPUT",
		"invert:image:2":        "invert:INPUT",
		"gain:audio":            "gain:INPUT:FACTOR",
		"gain:audio:loud":       `"loud" is not a factor`,
		"gain:audio:-1":         "not a factor",
		"gain:audio:NaN":        "not a factor",
		"noise:image:0":         "not a share",
		"empty:text:30":         `"30" is not a share between 0 and 1, such as 0.3 or 30%`,
		"empty:text:101%":       "not a share",
		"labels:one,two":        "labels:CLASS,CLASS,...:SHARE",
		"labels:one,two:0.5:no": "labels:CLASS,CLASS,...:SHARE",
	} {
		if s, err := ParseShift(text); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%q is read as %v, %v; want an error with %q", text, s, err, say)
		}
	}
}

// TestShiftsThatDoNotFit checks the errors for inputs and classes that a model does not have.
func TestShiftsThatDoNotFit(t *testing.T) {
	samples := senses(t, 12)
	for text, say := range map[string]string{
		"invert:imgae":       `the model senses has no input "imgae"; its inputs are picture, sound, words`,
		"empty:imgae:1":      "its inputs are picture, sound, words",
		"invert:words":       "words holds text, not amounts such as loudness or brightness: invert is for picture, sound; for words use empty or swap",
		"gain:words:2":       "gain is for picture, sound",
		"noise:words:0.1":    "noise is for picture, sound",
		"labels:red,pink:1":  `there is no class "pink"; the classes are red, green, blue`,
		"labels:7:0.5":       "the held-out set has no sample of 1 of these classes",
		"labels:red,blue:.5": "",
		"labels:0,2:.5":      "",
		"empty:seeing:0.5":   "", // a modality with one input
	} {
		s, err := ParseShift(text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = samples.Shift([]Shift{s}, 0, 0, 1)
		if say == "" && err != nil || say != "" && (err == nil || !strings.Contains(err.Error(), say)) {
			t.Errorf("%s: %v, want %q", text, err, say)
		}
	}
	if _, err := samples.Shift(nil, -1, 0, 1); err == nil {
		t.Error("a shift before the load is accepted")
	}
	if _, err := samples.Shift(nil, 2, 2, 1); err == nil {
		t.Error("a shift that ends when it begins is accepted")
	}
	samples.Model.Scoring = mustMetric(t, "sign")
	if _, err := samples.Shift([]Shift{{Kind: ShiftLabels, Classes: []string{"red"}, Amount: 1}}, 0, 0, 1); err == nil || !strings.Contains(err.Error(), "have no classes: its metric is sign") {
		t.Errorf("classes of a regression: %v", err)
	}
}

func TestChange(t *testing.T) {
	invert := func(in modelpkg.Input) func(float64) float64 {
		return func(v float64) float64 { return scaleOf(in).mirror - v }
	}
	ten := func(modelpkg.Input) func(float64) float64 { return func(v float64) float64 { return 10 * v } }
	buckets := &modelpkg.Buckets{Pad: modelpkg.Element(tensor.Int16, 0)}
	for _, c := range []struct {
		name     string
		in       modelpkg.Input
		by       func(modelpkg.Input) func(float64) float64
		from, to []float64
	}{
		{"a picture", modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.Uint8}}, invert, []float64{0, 1, 128, 255}, []float64{255, 254, 127, 0}},
		{"signed numbers", modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.Int8}}, invert, []float64{0, 5, -128, 127}, []float64{0, -5, 127, -127}},
		{"floats", modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.FP32}}, invert, []float64{0.5, -2}, []float64{-0.5, 2}},
		{"a range", modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.FP32}, Range: &modelpkg.Range{Low: 0, High: 1}}, invert, []float64{0.25, 1}, []float64{0.75, 0}},
		{"too large", modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.Int16}}, ten, []float64{-4000, 30, 4000}, []float64{-32768, 300, 32767}},
		{"above the range", modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.FP64}, Range: &modelpkg.Range{Low: 0, High: 1}}, ten, []float64{0.05, 0.2}, []float64{0.5, 1}},
		{"of 64 bits", modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.Int64}}, ten, []float64{1 << 62, -7}, []float64{1<<63 - 1024, -70}},
		{"half precision", modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.FP16}}, ten, []float64{0.5, 60000}, []float64{5, 65504}},
		{"filled up", modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.Int16}, Buckets: buckets}, func(modelpkg.Input) func(float64) float64 {
			return func(v float64) float64 { return v + 1 }
		}, []float64{3, 0, 3, 0, 0}, []float64{4, 1, 4, 0, 0}},
	} {
		var data []byte
		for _, v := range c.from {
			data = append(data, modelpkg.Element(c.in.DType, v)...)
		}
		before := string(data)
		got := numbersOf(c.in.DType, change(c.in, data, c.by(c.in)))
		for i := range c.to {
			if len(got) != len(c.to) || got[i] != c.to[i] {
				t.Fatalf("%s: %v become %v, want %v", c.name, c.from, got, c.to)
			}
		}
		if string(data) != before {
			t.Errorf("%s: the set was changed", c.name)
		}
	}
	for in, want := range map[*modelpkg.Input]float64{
		{Spec: modelpkg.Spec{DType: tensor.Uint8}}:                                                255,
		{Spec: modelpkg.Spec{DType: tensor.Int16}}:                                                32768,
		{Spec: modelpkg.Spec{DType: tensor.FP32}}:                                                 1,
		{Spec: modelpkg.Spec{DType: tensor.FP32}, Range: &modelpkg.Range{Low: -2, High: 4}}:       4,
		{Spec: modelpkg.Spec{DType: tensor.FP32}, Range: &modelpkg.Range{Low: 10, High: 14}}:      4,
		{Spec: modelpkg.Spec{DType: tensor.FP64}, Range: &modelpkg.Range{Low: 0, High: 1_000_00}}: 1_000_00,
	} {
		if got := scaleOf(*in).full(); got != want {
			t.Errorf("full scale of %v %v is %v, want %v", in.DType, in.Range, got, want)
		}
	}
}
