package modelpkgtest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// Fusion is a late-fusion model with graphs that compute: an encoder for each modality
// and a head for each subset of them.
type Fusion struct {
	Name          string // "": fusion
	Encoders      []Encoder
	Subsets       [][]int           // a variant for each: indices into Encoders
	Staged        bool              // the encoders are stages; otherwise each variant is one graph
	Remote        map[string]string // where the encoders' stages run that do not run on graphs: addresses of models, by encoder
	Samples       int               // of a labelled set with made-up labels; 0: none
	BatchItemsMax int
}

// Encoder is a modality with its encoder: layers of Width x Width weights on an input
// [Width]. The modality, its input and the encoder's stage have the same name.
type Encoder struct {
	Name          string
	Width, Layers int
}

// FusionClasses is how many classes a Fusion tells apart.
const FusionClasses = 3

// Write writes the package into a directory and loads it.
func (f Fusion) Write(dir string) (*modelpkg.Model, error) {
	graphs, variants := f.graphs()
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "format: 1\nname: %s\nmodalities:\n", cmp.Or(f.Name, "fusion"))
	for _, e := range f.Encoders {
		fmt.Fprintf(&yaml, "  - {name: %s, inputs: [{name: %s, datatype: FP32, shape: [%d]}]}\n", e.Name, e.Name, e.Width)
	}
	fmt.Fprintf(&yaml, "outputs: [{name: scores, datatype: FP32, shape: [%d]}]\nlimits: {max_batch: %d}\n%s", FusionClasses, f.BatchItemsMax, variants)
	if f.Samples > 0 {
		yaml.WriteString("evaluation: {profile: eval.npz}\n")
		set, err := f.samples()
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, "eval.npz"), set, 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, modelpkg.FileName), []byte(yaml.String()), 0o600); err != nil {
		return nil, err
	}
	for name, g := range graphs {
		if err := os.WriteFile(filepath.Join(dir, name), g.File(), 0o600); err != nil {
			return nil, err
		}
	}
	return modelpkg.Load(dir)
}

// graphs returns the graphs by file, and the part of mosel.yaml that names them.
func (f Fusion) graphs() (graphs map[string]*Graph, yaml string) {
	graphs = map[string]*Graph{}
	var stages, variants strings.Builder
	for _, e := range f.Encoders {
		if !f.Staged {
			break
		}
		if address := f.Remote[e.Name]; address != "" {
			fmt.Fprintf(&stages, "  - {name: %s, remote: %s, inputs: [%s], outputs: [{name: %s_features, datatype: FP32, shape: [%d]}]}\n",
				e.Name, address, e.Name, e.Name, e.Width)
			continue
		}
		graphs[e.Name+".onnx"] = e.graph()
		fmt.Fprintf(&stages, "  - {name: %s, path: %s.onnx}\n", e.Name, e.Name)
	}
	for _, subset := range f.Subsets {
		g := new(Graph)
		var names []string
		for _, i := range subset {
			e := f.Encoders[i]
			names = append(names, e.Name)
			if f.Staged {
				g.Input(e.Name+"_features", tensor.FP32, Batch, e.Width)
				continue
			}
			g.Input(e.Name, tensor.FP32, Batch, e.Width)
			e.layers(g)
		}
		f.head(g, subset)
		name, list := strings.Join(names, "_"), strings.Join(names, ", ")
		graphs[name+"_head.onnx"] = g
		if f.Staged {
			fmt.Fprintf(&stages, "  - {name: %s_head, path: %s_head.onnx}\n", name, name)
			fmt.Fprintf(&variants, "  - {name: %s, modalities: [%s], stages: [%s, %s_head]}\n", name, list, list, name)
		} else {
			fmt.Fprintf(&variants, "  - {name: %s, modalities: [%s], path: %s_head.onnx}\n", name, list, name)
		}
	}
	if !f.Staged {
		return graphs, "variants:\n" + variants.String()
	}
	return graphs, "stages:\n" + stages.String() + "variants:\n" + variants.String()
}

// graph is the encoder's graph.
func (e Encoder) graph() *Graph {
	g := new(Graph)
	g.Input(e.Name, tensor.FP32, Batch, e.Width)
	e.layers(g)
	g.Output(e.Name+"_features", tensor.FP32, Batch, e.Width)
	return g
}

// Write writes a package of the encoder alone, under its name, into a directory and loads
// it.
func (e Encoder) Write(dir string, batchItemsMax int) (*modelpkg.Model, error) {
	yaml := fmt.Sprintf("format: 1\nname: %s\nmodalities:\n  - {name: %s, inputs: [{name: %s, datatype: FP32, shape: [%d]}]}\n"+
		"outputs: [{name: %s_features, datatype: FP32, shape: [%d]}]\nlimits: {max_batch: %d}\nvariants: [{name: whole, modalities: [%s], path: graph.onnx}]\n",
		e.Name, e.Name, e.Name, e.Width, e.Name, e.Width, batchItemsMax, e.Name)
	for name, content := range map[string][]byte{modelpkg.FileName: []byte(yaml), "graph.onnx": e.graph().File()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	return modelpkg.Load(dir)
}

// layers adds the encoder's layers to a graph.
func (e Encoder) layers(g *Graph) {
	from := e.Name
	for i := range e.Layers {
		weight, product, to := fmt.Sprintf("%s_w%d", e.Name, i), fmt.Sprintf("%s_p%d", e.Name, i), fmt.Sprintf("%s_r%d", e.Name, i)
		if i == e.Layers-1 {
			to = e.Name + "_features"
		}
		g.Weight(weight, tensor.FP32, weights(weight, e.Width, e.Width), e.Width, e.Width)
		g.Node("MatMul", []string{from, weight}, []string{product})
		g.Node("Relu", []string{product}, []string{to})
		from = to
	}
}

// head adds the head of a subset: scores that sum to 1.
func (f Fusion) head(g *Graph, subset []int) {
	var names, features []string
	width := 0
	for _, i := range subset {
		e := f.Encoders[i]
		names, features = append(names, e.Name), append(features, e.Name+"_features")
		width += e.Width
	}
	name := "head_" + strings.Join(names, "_")
	g.Node("Concat", features, []string{"features"}, Integer("axis", 1))
	g.Weight(name, tensor.FP32, weights(name, width, FusionClasses), width, FusionClasses)
	g.Node("MatMul", []string{"features", name}, []string{"logits"})
	g.Node("Softmax", []string{"logits"}, []string{"scores"}, Integer("axis", 1))
	g.Output("scores", tensor.FP32, Batch, FusionClasses)
}

// weights returns random numbers, the same for the same name, that keep the scale of
// what they are multiplied with.
func weights(name string, rows, columns int) []byte {
	hash := fnv.New64()
	hash.Write([]byte(name)) // never fails
	random := rand.New(rand.NewPCG(hash.Sum64(), 1))
	data := make([]byte, 0, 4*rows*columns)
	for range rows * columns {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(random.NormFloat64()*math.Sqrt(2/float64(rows)))))
	}
	return data
}

// samples makes a labelled set.
func (f Fusion) samples() ([]byte, error) {
	random := rand.New(rand.NewPCG(7, 7))
	n := int64(f.Samples)
	label := tensor.Tensor{Name: "label", DType: tensor.Uint8, Shape: tensor.Shape{n}}
	for range n {
		label.Data = append(label.Data, byte(random.IntN(FusionClasses)))
	}
	arrays := []tensor.Tensor{label}
	for _, e := range f.Encoders {
		x := tensor.Tensor{Name: e.Name, DType: tensor.FP32, Shape: tensor.Shape{n, int64(e.Width)}}
		for range f.Samples * e.Width {
			x.Data = binary.LittleEndian.AppendUint32(x.Data, math.Float32bits(float32(random.NormFloat64())))
		}
		arrays = append(arrays, x)
	}
	var file bytes.Buffer
	err := modelpkg.WriteNPZ(&file, arrays)
	return file.Bytes(), err
}
