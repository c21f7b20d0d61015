package modelpkg_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// recoverYAML is a valid package with variants that recover modalities.
const recoverYAML = `format: 1
name: views
modalities:
  - {name: a, inputs: [{name: a, datatype: FP32, shape: [2]}]}
  - {name: b, inputs: [{name: b, datatype: FP32, shape: [2]}]}
  - {name: c, inputs: [{name: c, datatype: FP32, shape: [2]}]}
outputs:
  - {name: scores, datatype: FP32, shape: [2]}
  - {name: trusted, datatype: BOOL, shape: [3]}
variants:
  - {name: a, modalities: [a], path: a.onnx}
  - {name: a_all, modalities: [a], path: a_all.onnx, recover: true}
  - {name: a_c, modalities: [a], path: a_c.onnx, recover: [c]}
  - {name: all, modalities: [a, b, c], path: all.onnx, recover: false}
`

func recoverGraphs(trusted ...int) map[string]*modelpkgtest.Graph {
	graphs := map[string]*modelpkgtest.Graph{}
	for name, inputs := range map[string]string{"a.onnx": "a", "a_all.onnx": "a", "a_c.onnx": "a", "all.onnx": "a b c"} {
		g := new(modelpkgtest.Graph)
		for in := range strings.FieldsSeq(inputs) {
			g.Input(in, tensor.FP32, modelpkgtest.Batch, 2)
		}
		g.Output("scores", tensor.FP32, modelpkgtest.Batch, 2)
		if trusted != nil {
			g.Output("trusted", tensor.Bool, append([]int{modelpkgtest.Batch}, trusted...)...)
		}
		graphs[name] = g
	}
	return graphs
}

// TestRecover checks which modalities variants recover.
func TestRecover(t *testing.T) {
	m, err := modelpkg.Load(writeStaged(t, recoverYAML, recoverGraphs(3)))
	if err != nil {
		t.Fatal(err)
	}
	var got []slo.Modalities
	for _, v := range m.Variants {
		got = append(got, v.Recovers)
	}
	if want := []slo.Modalities{0, 0b110, 0b100, 0}; !slices.Equal(got, want) || m.Trusted() != 1 {
		t.Errorf("the variants recover %b, want %b; the output trusted is number %d", got, want, m.Trusted())
	}
	if set := m.TrustedIn([]byte{0, 1, 255}); set != 0b110 {
		t.Errorf("trusted %b", set)
	}
	plain := strings.NewReplacer(", recover: true", "", ", recover: [c]", "").Replace(recoverYAML)
	if m, err = modelpkg.Load(writeStaged(t, plain, recoverGraphs(3))); err != nil || m.Trusted() != -1 {
		t.Errorf("without such variants: output %d, %v", m.Trusted(), err)
	}
}

// TestRecoverProblems has every mistake in what a package says about recovery.
func TestRecoverProblems(t *testing.T) {
	for name, c := range map[string]struct {
		from, to string
		graphs   map[string]*modelpkgtest.Graph
		want     string
	}{
		"an input of the variant": {"recover: [c]", "recover: [c, a]", nil, "13:63: variant a_c recovers a, which it takes as input"},
		"unknown modality":        {"recover: [c]", "recover: [cc]", nil, `13:60: the model has no modality "cc"; known: a, b, c`},
		"twice":                   {"recover: [c]", "recover: [c, c]", nil, `13:63: the modality "c" occurs twice`},
		"nothing to recover":      {"recover: false", "recover: true", nil, "14:65: variant all takes all modalities: there is nothing to recover"},
		"neither":                 {"recover: true", "recover: c", nil, "12:63: recover must be true, for all modalities that the variant does not take, or a list of modalities"},
		"no list":                 {"recover: true", "recover: []", nil, "12:63: recover: the list is empty"},
		"no output":               {"  - {name: trusted, datatype: BOOL, shape: [3]}\n", "", nil, "11:63: variant a_all recovers modalities: the package needs an output {name: trusted, datatype: BOOL, shape: [3]}"},
		"datatype":                {"BOOL", "FP32", nil, "9:31: the output trusted must be BOOL or UINT8, not FP32"},
		"shape":                   {"[3]", "[2]", nil, "9:44: the output trusted must have the shape [3]: one element for each of a, b, c, not [2]"},
		"first": {"  - {name: scores, datatype: FP32, shape: [2]}\n  - {name: trusted, datatype: BOOL, shape: [3]}\n", "  - {name: trusted, datatype: BOOL, shape: [3]}\n  - {name: scores, datatype: FP32, shape: [2]}\n",
			nil, "8:5: the output trusted cannot be the first, which the metric scores"},
		"a graph without it":          {"format", "format", recoverGraphs(), `variant a_all: a_all.onnx has no output "trusted"; it has scores`},
		"a graph with another number": {"format", "format", recoverGraphs(2), "trusted is declared [3], but is [2] after the batch dimension"},
	} {
		t.Run(name, func(t *testing.T) {
			graphs := c.graphs
			if graphs == nil {
				graphs = recoverGraphs(3)
			}
			var list []string
			for _, p := range modelpkg.Check(writeStaged(t, strings.Replace(recoverYAML, c.from, c.to, 1), graphs)) {
				list = append(list, p.String())
			}
			if got := strings.Join(list, "\n"); !strings.Contains(got, c.want) {
				t.Errorf("got:\n%s\nwant: %s", got, c.want)
			}
		})
	}
}
