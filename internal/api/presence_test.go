package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// choosy is scene with declarations of absent inputs, a bound on lengths, a range of
// values, and a setting that applies to the whole request.
func choosy() *modelpkg.Model {
	m := scene().Model
	m.Inputs[0].Absent.Kind = modelpkg.AbsentZeros
	m.Inputs[1].Absent = modelpkg.Absence{Kind: modelpkg.AbsentSilence, Below: 0.001}
	m.Inputs[1].Max = 4
	m.Inputs[2].Range = &modelpkg.Range{Low: 0, High: 29}
	m.Inputs[3].Unbatched = true
	return m
}

// rowsOfBytes returns a tensor whose rows have one byte value each.
func rowsOfBytes(name string, d tensor.DType, shape tensor.Shape, values ...byte) tensor.Tensor {
	t := tensor.Tensor{Name: name, DType: d, Shape: append(tensor.Shape{int64(len(values))}, shape...)}
	n, _ := shape.Elements()
	for _, v := range values {
		for range n * d.Size() {
			t.Data = append(t.Data, v)
		}
	}
	return t
}

func images(values ...byte) tensor.Tensor {
	return rowsOfBytes("image", tensor.Uint8, tensor.Shape{2, 2}, values...)
}

func sounds(values ...byte) tensor.Tensor {
	return rowsOfBytes("audio", tensor.Int16, tensor.Shape{4}, values...)
}

func texts(values ...byte) tensor.Tensor {
	return rowsOfBytes("chars", tensor.Uint8, tensor.Shape{3}, values...)
}

// mask is the setting, once for all items.
var mask = tensor.Tensor{Name: "mask", DType: tensor.Bool, Shape: tensor.Shape{3}, Data: []byte{1, 0, 1}}

// carryCases are requests with the expected modalities of their items.
var carryCases = []struct {
	name   string
	params oip.Parameters
	inputs []tensor.Tensor
	want   string // by item, or an error
	told   string // the parameter absent
}{
	{"all the same", nil, []tensor.Tensor{images(1, 2), texts(3, 4), mask}, "[image+text image+text]", ""},
	{"seven pictures and five texts", oip.Parameters{{Name: "items.image", Value: oip.String("0-6")}, {Name: "items.text", Value: oip.String("2,4,7-9")}},
		[]tensor.Tensor{images(1, 2, 3, 4, 5, 6, 7), texts(1, 2, 3, 4, 5), mask}, "[image image image+text image image+text image image text text text]", ""},
	{"some have text", oip.Parameters{{Name: "items.text", Value: oip.String("1")}}, []tensor.Tensor{images(1, 2), texts(3), mask}, "[image image+text]", ""},
	{"a black picture", nil, []tensor.Tensor{images(1, 0), texts(3, 4), mask}, "[image+text text]", "image:1"},
	{"all pictures are black", nil, []tensor.Tensor{images(0, 0), texts(3, 4), mask}, "[text text]", "image"},
	{"silence", nil, []tensor.Tensor{images(0, 1, 1), sounds(0, 0, 9), texts(3, 4, 5), mask}, "[text image+text image+audio+text]", "image:0;audio:0-1"},
	{"nothing at all", nil, []tensor.Tensor{images(1, 0)}, "item 1 carries nothing, because image is absent (image: zeros): scene runs on image, text, image+text, image+audio+text", ""},
	{"not enough", oip.Parameters{{Name: "items.image", Value: oip.String("0")}}, []tensor.Tensor{images(1), sounds(9, 9)}, "item 1 carries audio alone: scene runs on", ""},
	{"nobody's item", oip.Parameters{{Name: "items.image", Value: oip.String("0,2")}}, []tensor.Tensor{images(1, 2)}, "item 1 carries nothing: scene runs on", ""},
	{"too few rows", oip.Parameters{{Name: "items.image", Value: oip.String("0-2")}}, []tensor.Tensor{images(1, 2)}, `input "image" has 2 rows, parameter items.image names 3 items`, ""},
	{"beyond the others", oip.Parameters{{Name: "items.text", Value: oip.String("2")}}, []tensor.Tensor{images(1, 2), texts(3), mask}, `a parameter items.MODALITY names item 2, but input "image" has only 2 items`, ""},
	{"unlike numbers", nil, []tensor.Tensor{images(1, 2), texts(3), mask}, "a parameter items.text that says which items it is for", ""},
	{"an unknown modality", oip.Parameters{{Name: "items.smell", Value: oip.String("0")}}, []tensor.Tensor{images(1)}, `scene has no modality "smell"`, ""},
	{"what was not sent", oip.Parameters{{Name: "items.text", Value: oip.String("0")}}, []tensor.Tensor{images(1)}, `no input of modality "text" was sent`, ""},
	{"a number", oip.Parameters{{Name: "items.image", Value: oip.Int(0)}}, []tensor.Tensor{images(1)}, "it must be a string of item numbers", ""},
	{"backwards", oip.Parameters{{Name: "items.image", Value: oip.String("1,0")}}, []tensor.Tensor{images(1, 2)}, "item 0 stands after item 1", ""},
	{"no list", oip.Parameters{{Name: "items.image", Value: oip.String("0-")}}, []tensor.Tensor{images(1)}, `"0-" is not a list of item numbers`, ""},
	{"far away", oip.Parameters{{Name: "items.image", Value: oip.String("0-2000000000")}}, []tensor.Tensor{images(1)}, "item 2000000000 is not below 100", ""},
	{"too long", nil, []tensor.Tensor{images(1), rowsOfBytes("audio", tensor.Int16, tensor.Shape{5}, 9), texts(1), mask}, `input "audio" has length 5, but the model takes at most 4`, ""},
	{"out of the vocabulary", nil, []tensor.Tensor{texts(3, 30), mask}, `input "chars"`, ""},
	{"a setting for each item", nil, []tensor.Tensor{texts(3, 4), rowsOfBytes("mask", tensor.Bool, tensor.Shape{3}, 1, 0)}, "[text text]", ""},
}

// TestWhatItemsCarry reads the requests of carryCases.
func TestWhatItemsCarry(t *testing.T) {
	for _, tt := range carryCases {
		t.Run(tt.name, func(t *testing.T) {
			m := choosy()
			x := newExchange(&budget{max: 1 << 20})
			x.request.Parameters, x.request.Inputs = tt.params, tt.inputs
			c, err := x.takeItems(m, 100)
			if err != nil {
				if slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("%v (%v), want %q", err, slo.KindOf(err), tt.want)
				}
				return
			}
			var got []string
			for item := range x.items {
				set := c.union
				if c.items != nil {
					set = c.items[item]
				}
				got = append(got, set.Join(m.ModalityNames()))
				for i, in := range m.Inputs {
					if set.Has(1<<in.Modality) && x.items[item][i] == nil {
						t.Errorf("item %d has no %s", item, in.Name)
					}
				}
			}
			if fmt.Sprint(got) != tt.want {
				t.Errorf("the items carry %v, want %s", got, tt.want)
			}
			told := ""
			if p, ok := c.told(m).Get("absent"); ok {
				told = p.Text()
			}
			if told != tt.told {
				t.Errorf("absent is told as %q, want %q", told, tt.told)
			}
			sum := 0
			for _, r := range c.runs(0) {
				sum += r.Items
			}
			if sum != 0 && sum != len(x.items) {
				t.Errorf("the runs have %d of %d items", sum, len(x.items))
			}
		})
	}
}

// TestChosenModalities checks that each item must carry what a client chooses.
func TestChosenModalities(t *testing.T) {
	m := choosy()
	x := newExchange(&budget{max: 1 << 20})
	x.request.Inputs = []tensor.Tensor{images(1, 0), texts(3, 4), mask}
	c, err := x.takeItems(m, 100)
	if err != nil {
		t.Fatal(err)
	}
	choose := func(names string) (slo.Modalities, error) {
		return choice(oip.Parameters{{Name: "modalities", Value: oip.String(names)}}, m, c, false)
	}
	if set, err := choose("text"); err != nil || set != 4 {
		t.Errorf("text: %b, %v", set, err)
	}
	if _, err := choose("image"); err == nil || !strings.Contains(err.Error(), `"image" is to be run, but item 1 does not carry it`) {
		t.Errorf("image: %v", err)
	}
	want := []slo.Carried{{Items: 1, Present: 5, Choice: 4}, {Items: 1, Present: 4, Choice: 4}}
	if runs := c.runs(4); !slices.Equal(runs, want) {
		t.Errorf("runs %v, want %v", runs, want)
	}
}

// TestFloorsThatFailForAbsence checks that the error of a refused floor says what
// counted as absent.
func TestFloorsThatFailForAbsence(t *testing.T) {
	m := choosy()
	c := carried{union: 4, items: []slo.Modalities{4}, absent: []slo.Modalities{1}}
	err := c.explained(m, slo.E("infer scene", slo.KindInfeasible, "the best is 0.8"))
	if err.Error() != "infer scene: the best is 0.8; what was sent counts as absent: image" {
		t.Error(err)
	}
	if err := c.explained(m, slo.E("infer scene", slo.KindOverloaded, "busy")); err.Error() != "infer scene: busy" {
		t.Error(err)
	}
}
