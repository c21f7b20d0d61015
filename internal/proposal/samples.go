package proposal

import (
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// Samples is a file of labelled samples.
type Samples struct {
	File   string  `json:"file"`
	Arrays []Array `json:"arrays"`
	dir    string
}

// Array is one array of such a file, the samples' dimension included.
type Array struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"` // numpy's words where mosel has none
	Shape    []int64 `json:"shape"`
	dtype    tensor.DType
	texts    bool
}

// The arrays of a set that are no inputs.
const (
	labelArray        = "label"
	galleryArray      = "gallery"
	galleryLabelArray = "gallery_label"
)

// labelLike are names that people give to labels.
var labelLike = []string{"labels", "y", "target", "targets", "class", "classes"}

func (s *Samples) array(name string) *Array {
	if s == nil {
		return nil
	}
	for i := range s.Arrays {
		if s.Arrays[i].Name == name {
			return &s.Arrays[i]
		}
	}
	return nil
}

// count is how many samples there are: 0 where there is no label.
func (s *Samples) count() int {
	if a := s.array(labelArray); a != nil && len(a.Shape) > 0 {
		return int(a.Shape[0])
	}
	return 0
}

func (s *Samples) names() []string {
	names := make([]string, len(s.Arrays))
	for i, a := range s.Arrays {
		names[i] = a.Name
	}
	return names
}

// open opens the file for reading and tells its size.
func (s *Samples) open() (*os.File, int64, error) {
	f, err := os.Open(filepath.Join(s.dir, filepath.FromSlash(s.File)))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// setBytes bounds what is read of a file of samples at once.
const setBytes = 4 << 30

// numbers reads an array of numbers.
func (s *Samples) numbers(name string) ([]float64, error) {
	f, size, err := s.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	arrays, err := modelpkg.ReadNPZ(f, size, setBytes, name)
	if err != nil {
		return nil, err
	}
	if len(arrays) != 1 {
		return nil, fmt.Errorf("it has no array %q", name)
	}
	return numbersOf(arrays[0])
}

// texts reads an array of texts.
func (s *Samples) textsOf(name string) ([]string, error) {
	f, size, err := s.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return modelpkg.TextsNPZ(f, size, name)
}

func numbersOf(t tensor.Tensor) ([]float64, error) {
	switch t.DType {
	case tensor.Bool:
		all, err := tensor.Values[bool](t)
		numbers := make([]float64, len(all))
		for i, v := range all {
			if v {
				numbers[i] = 1
			}
		}
		return numbers, err
	case tensor.Int8:
		return widened[int8](t)
	case tensor.Int16:
		return widened[int16](t)
	case tensor.Int32:
		return widened[int32](t)
	case tensor.Int64:
		return widened[int64](t)
	case tensor.Uint8:
		return widened[uint8](t)
	case tensor.Uint16:
		return widened[uint16](t)
	case tensor.Uint32:
		return widened[uint32](t)
	case tensor.Uint64:
		return widened[uint64](t)
	case tensor.FP32:
		return widened[float32](t)
	case tensor.FP64:
		return widened[float64](t)
	default:
		half, err := tensor.Values[tensor.Float16](t)
		numbers := make([]float64, len(half))
		for i, v := range half {
			numbers[i] = float64(v.Float32())
		}
		return numbers, err
	}
}

func widened[T interface {
	tensor.Element
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64
}](t tensor.Tensor) ([]float64, error) {
	values, err := tensor.Values[T](t)
	numbers := make([]float64, len(values))
	for i, v := range values {
		numbers[i] = float64(v)
	}
	return numbers, err
}

// readSamples reads what arrays every file of samples has.
func (p *Proposal) readSamples(dir string, names []string) {
	for _, name := range names {
		s := Samples{File: name, dir: dir}
		f, size, err := s.open()
		if err == nil {
			var arrays []modelpkg.ArrayNPZ
			arrays, err = modelpkg.ArraysNPZ(f, size)
			for _, a := range arrays {
				array := Array{Name: a.Name, Datatype: a.DType.String(), Shape: a.Shape, dtype: a.DType, texts: a.Texts}
				if a.DType == tensor.Invalid {
					array.Datatype = "numpy " + a.Code
				}
				s.Arrays = append(s.Arrays, array)
			}
			_ = f.Close() // it was only read
		}
		if err != nil {
			p.decide(name, err.Error(), "save it again with numpy.savez_compressed, or take it out of the directory")
			continue
		}
		p.Samples = append(p.Samples, s)
	}
}

// chooseSets settles which files the package is profiled on and which it is tested
// on: those that a person named, or those that there are.
func (p *Proposal) chooseSets(dir string, inputs []*merged) {
	o := p.options
	if o.Profile == "" && o.HeldOut == "" {
		p.guessSets(inputs)
	} else {
		p.Profile, p.HeldOut = o.Profile, o.HeldOut
	}
	for _, name := range []string{p.Profile, p.HeldOut} {
		if name == "" {
			continue
		}
		i := slices.IndexFunc(p.Samples, func(s Samples) bool { return s.File == path.Clean(filepath.ToSlash(name)) })
		if i < 0 {
			p.decide(name, "there is no such file of samples in "+dir, "name one of: "+listed(p.files()))
			continue
		}
		p.checkSet(&p.Samples[i], inputs)
		if name == p.Profile {
			p.chosen = &p.Samples[i]
		}
	}
}

func (p *Proposal) files() []string {
	names := make([]string, len(p.Samples))
	for i, s := range p.Samples {
		names[i] = s.File
	}
	return names
}

// guessSets chooses among the files of samples by their names.
func (p *Proposal) guessSets(inputs []*merged) {
	var profile, heldOut []string
	for i, name := range p.files() {
		parts := words(strings.TrimSuffix(path.Base(name), path.Ext(name)))
		switch {
		case !slices.ContainsFunc(inputs, func(m *merged) bool { return p.Samples[i].array(m.name) != nil }):
			p.note("%s was left out: it has no array for any input; it has %s", clip(name), listed(p.Samples[i].names()))
		case slices.ContainsFunc(parts, func(w string) bool { return slices.Contains([]string{"heldout", "held", "test"}, w) }):
			heldOut = append(heldOut, name)
		case slices.Contains(parts, "train") || slices.Contains(parts, "training"):
			p.note("%s was left out: samples that the model was trained on say nothing about its accuracy", clip(name))
		default:
			profile = append(profile, name)
		}
	}
	if named := slices.DeleteFunc(slices.Clone(profile), func(name string) bool { return !slices.Contains(words(path.Base(name)), "profile") }); len(named) == 1 {
		profile = named
	}
	switch {
	case len(profile) == 1 && len(heldOut) <= 1:
		p.Profile, p.HeldOut = profile[0], strings.Join(heldOut, "")
	case len(profile) == 0 && len(heldOut) == 1:
		p.Profile = heldOut[0]
	case len(profile)+len(heldOut) > 0:
		p.decide(listed(append(profile, heldOut...)), "there are several files of samples, and their names do not say which is for what",
			"name them: --profile FILE --heldout FILE", "or call them profile.npz and heldout.npz")
	}
}

// checkSet adds decisions for what is missing in a file of samples.
func (p *Proposal) checkSet(s *Samples, inputs []*merged) {
	var missing []string
	for _, in := range inputs {
		if s.array(in.name) == nil {
			missing = append(missing, in.name)
		}
	}
	if len(missing) > 0 {
		p.decide(s.File, fmt.Sprintf("it has no array for the inputs %s; it has %s", listed(missing), listed(s.names())),
			"save one array for each input, under the input's name", "or take the file out of the directory: the package can then not be profiled")
	}
	if p.external() {
		return
	}
	if label := s.array(labelArray); label == nil {
		why := fmt.Sprintf("it has no array %q with the right answers; it has %s", labelArray, listed(s.names()))
		if i := slices.IndexFunc(s.Arrays, func(a Array) bool { return slices.Contains(labelLike, strings.ToLower(a.Name)) }); i >= 0 {
			p.decide(s.File, why, fmt.Sprintf("save %q under the name %q", s.Arrays[i].Name, labelArray), "or, for scores of your own: --metric external")
			return
		}
		p.decide(s.File, why, "save the right answers as "+labelArray, "or, for scores of your own: --metric external",
			"or take the file out of the directory: the package can then not be profiled")
	} else if slices.Contains(label.Shape, 0) || s.count() == 0 {
		p.decide(s.File, fmt.Sprintf("its array %q has shape %v, and so no labels", labelArray, label.Shape), "save a label for each sample")
	}
}

// external reports whether scores come from a script of the person's own.
func (p *Proposal) external() bool { return strings.Contains(p.options.Metric, "external") }

// extremes are the least and the greatest of some numbers.
func extremes(numbers []float64) (least, greatest float64) {
	least, greatest = math.Inf(1), math.Inf(-1)
	for _, v := range numbers {
		least, greatest = min(least, v), max(greatest, v)
	}
	return least, greatest
}
