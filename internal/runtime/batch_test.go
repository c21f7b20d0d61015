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
		{"short", 0, []runtime.Item{item(7, 6)}, slo.KindInvalid, `item 0 has 7 bytes of input "f"; FP32 [2] has 8`},
		{"odd", 1, []runtime.Item{item(8, 7)}, slo.KindInvalid, `item 0 has 7 bytes of input "d"; INT16 [-1,3] has a positive multiple of 6`},
		{"nothing", 1, []runtime.Item{item(8, 0)}, slo.KindInvalid, "positive multiple of 6"},
		{"disagreeing", 1, []runtime.Item{item(8, 6), item(8, 12)}, slo.KindInvalid, "item 1 has 12 bytes of input \"d\", item 0 has 6"},
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
