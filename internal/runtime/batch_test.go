package runtime_test

import (
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

func model() *modelpkg.Model {
	return &modelpkg.Model{
		Name:       "m",
		Modalities: []modelpkg.Modality{{Name: "fixed", Inputs: []int{0}}, {Name: "dynamic", Inputs: []int{1}}},
		Inputs: []modelpkg.Input{
			{Spec: modelpkg.Spec{Name: "f", DType: tensor.FP32, Shape: tensor.Shape{2}}},
			{Spec: modelpkg.Spec{Name: "d", DType: tensor.Int16, Shape: tensor.Shape{-1, 3}}, Modality: 1},
		},
		Variants: []modelpkg.Variant{
			{Name: "fixed", Modalities: 1, Inputs: []int{0}},
			{Name: "both", Modalities: 3, Inputs: []int{0, 1}},
		},
		Limits: modelpkg.Limits{BatchItemsMax: 2},
	}
}

func TestItemBytes(t *testing.T) {
	for i, want := range []int{8, 6} {
		if got := runtime.ItemBytes(model().Inputs[i].Spec); got != want {
			t.Errorf("%+v: %d bytes, want %d", model().Inputs[i].Spec, got, want)
		}
	}
}

func TestCheckBatch(t *testing.T) {
	item := func(fixed, dynamic int) runtime.Item { return runtime.Item{make([]byte, fixed), make([]byte, dynamic)} }
	for _, test := range []struct {
		name    string
		variant int
		items   []runtime.Item
		kind    slo.Kind
		want    string // in the error, "" for none
	}{
		{"fixed", 0, []runtime.Item{{make([]byte, 8), nil}}, 0, ""},
		{"short item", 0, []runtime.Item{{make([]byte, 8)}}, 0, ""},
		{"both", 1, []runtime.Item{item(8, 12), item(8, 12)}, 0, ""},
		{"no such variant", 2, []runtime.Item{item(8, 6)}, slo.KindInvalid, "no variant 2; the model has 2"},
		{"negative variant", -1, []runtime.Item{item(8, 6)}, slo.KindInvalid, "no variant -1"},
		{"empty", 0, nil, slo.KindInvalid, "no items"},
		{"too many", 0, make([]runtime.Item, 3), slo.KindTooLarge, "3 items exceeds the limit of 2"},
		{"absent", 1, []runtime.Item{item(8, 6), {make([]byte, 8), nil}}, slo.KindInvalid, `item 1 has no input "d"`},
		{"truncated item", 1, []runtime.Item{{make([]byte, 8)}}, slo.KindInvalid, `item 0 has no input "d"`},
		{"short", 0, []runtime.Item{item(7, 6)}, slo.KindInvalid, `item 0 has 7 bytes of input "f", which end within an element of FP32`},
		{"odd", 1, []runtime.Item{item(8, 7)}, slo.KindInvalid, `item 0 has 7 bytes of input "d", which end within an element of INT16`},
		{"nothing", 1, []runtime.Item{item(8, 0)}, slo.KindInvalid, "positive multiple of 3"},
		{"disagreeing", 1, []runtime.Item{item(8, 6), item(8, 12)}, slo.KindInvalid, "item 1 has 6 elements of input \"d\", item 0 has 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := runtime.CheckBatch(model(), test.variant, test.items)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || slo.KindOf(err) != test.kind):
				t.Errorf("%v, want %q of kind %v", err, test.want, test.kind)
			}
		})
	}
}

func texts(t *testing.T, texts ...string) []byte {
	t.Helper()
	x, err := tensor.Strings("t", tensor.Shape{int64(len(texts))}, texts)
	if err != nil {
		t.Fatal(err)
	}
	return x.Data
}

func TestBatchesOfTexts(t *testing.T) {
	m := model()
	m.Inputs[0].DType, m.Inputs[1].DType = tensor.Bytes, tensor.Bytes
	pair, six := texts(t, "a", "bc"), texts(t, "", "1", "22", "333", "", "5")
	for _, test := range []struct {
		name  string
		items []runtime.Item
		want  string
	}{
		{"of any length", []runtime.Item{{pair, six}, {texts(t, "", ""), texts(t, "x", "", "", "", "", "")}}, ""},
		{"too few", []runtime.Item{{texts(t, "a"), six}}, `item 0 has 1 elements of input "f"; BYTES [2] has 2`},
		{"cut off", []runtime.Item{{pair[:len(pair)-1], six}}, `which end within an element of BYTES`},
		{"disagreeing", []runtime.Item{{pair, six}, {pair, six[:4+5+6]}}, `item 1 has 3 elements of input "d", item 0 has 6`},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := runtime.CheckBatch(m, 1, test.items)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	fixed, dynamic := m.Inputs[0], m.Inputs[1]
	if !runtime.Alike(fixed, pair, texts(t, "long one", "b")) || runtime.Alike(dynamic, six, six[:4+5+6]) {
		t.Error("texts share a run if, and only if, they are as many")
	}
	if n := runtime.Length(dynamic.Spec, six); n != 2 {
		t.Errorf("length %d, want 2", n)
	}
	if got := runtime.Resize(dynamic.Spec, six, 1); string(got) != string(six[:4+5+6]) {
		t.Errorf("cut to %q", got)
	}
	if got := runtime.Resize(dynamic.Spec, six, 3); string(got) != string(six)+string(six[:4+5+6]) {
		t.Errorf("repeated to %q", got)
	}
}
