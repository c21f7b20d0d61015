package modelpkg

import (
	"archive/zip"
	"bytes"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/tensor"
)

// ofTexts is a model with an input of texts, scored from outside.
func ofTexts(t *testing.T, shape ...int64) *Model {
	t.Helper()
	external, known := score.New("external")
	if !known {
		t.Fatal("there is no metric external")
	}
	return &Model{
		Scoring: external, Evaluation: Evaluation{Profile: "set.npz"},
		Inputs:  []Input{{Spec: Spec{Name: "x", DType: tensor.Bytes, Shape: shape}, BytesMax: 8}},
		Outputs: []Spec{{Name: "y", DType: tensor.Bytes, Shape: tensor.Shape{1}}},
	}
}

func textSet(t *testing.T, x []byte) []byte {
	t.Helper()
	return zipped(t, zip.Deflate, [2]string{"x.npy", string(x)})
}

// TestSetsOfTexts reads samples that are texts, wide and narrow, from whole sets and
// from their beginnings.
func TestSetsOfTexts(t *testing.T) {
	for name, c := range map[string]struct {
		array []byte
		shape []int64
		want  []string // samples, their texts joined by |
		fault string
	}{
		"one each":    {textNPY(true, "3,", "né", "", "longer"), nil, []string{"né", "", "longer"}, ""},
		"narrow":      {textNPY(false, "2,1", "a", "bc"), []int64{1}, []string{"a", "bc"}, ""},
		"two each":    {textNPY(true, "2,2", "a", "b", "", "d"), []int64{2}, []string{"a|b", "|d"}, ""},
		"any":         {textNPY(true, "1,3", "a", "b", "c"), []int64{-1}, []string{"a|b|c"}, ""},
		"too long":    {textNPY(true, "2,", "a", "123456789"), nil, nil, `sample 1 of array "x": input "x": element 0 has 9 bytes, but the model takes at most 8`},
		"wrong shape": {textNPY(true, "3,", "a", "b", "c"), []int64{2}, nil, `array "x" has shape [3]; it must be the number of samples, then [2]`},
		"numbers":     {npy(1, "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }\n", make([]byte, 8)), nil, nil, `numpy.array(texts, dtype=str)`},
	} {
		t.Run(name, func(t *testing.T) {
			m, file := ofTexts(t, c.shape...), textSet(t, c.array)
			set, err := newSet("set.npz", file, m)
			few, fewErr := m.firstSamples(bytes.NewReader(file), int64(len(file)), 2)
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("%v, want %q", err, c.fault)
				}
				return
			}
			if err != nil || fewErr != nil || set.Len() != len(c.want) || len(few) != min(2, len(c.want)) {
				t.Fatalf("%v, %v, %d samples", err, fewErr, set.Len())
			}
			for i, want := range c.want {
				texts := strings.Split(want, "|")
				x, err := tensor.Strings("x", tensor.Shape{int64(len(texts))}, texts)
				if err != nil {
					t.Fatal(err)
				}
				if got := set.Item(i)[0]; !bytes.Equal(got, x.Data) || i < len(few) && !bytes.Equal(few[i].Item[0], x.Data) {
					t.Errorf("sample %d is %q, want %q", i, got, x.Data)
				}
			}
		})
	}
}

func TestBlankTexts(t *testing.T) {
	in := ofTexts(t, 2).Inputs[0]
	in.Absent.Kind = AbsentBlank
	for text, want := range map[[2]string]bool{{"", ""}: true, {" \t", "\u2003"}: true, {"", "x"}: false} {
		x, err := tensor.Strings("x", tensor.Shape{2}, text[:])
		if err != nil {
			t.Fatal(err)
		}
		if got := in.IsAbsent(x.Data); got != want {
			t.Errorf("%q: absent %v, want %v", text, got, want)
		}
	}
}
