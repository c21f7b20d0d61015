package proposal

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// precisions are the words in files' names that say how exact a graph's numbers are.
var precisions = []struct {
	name  string
	words []string
}{
	{"fp16", []string{"fp16", "float16", "half", "f16"}},
	{"bf16", []string{"bf16", "bfloat16"}},
	{"int8", []string{"int8", "uint8", "i8", "q8", "quant", "quantized", "quantised", "qdq"}},
	{"int4", []string{"int4", "uint4", "q4"}},
	{"", []string{"fp32", "float32", "f32"}},
}

// precisionOf is what a file's name says; "" is fp32.
func precisionOf(file string) string {
	parts := words(strings.TrimSuffix(path.Base(file), path.Ext(file)))
	for _, precision := range precisions {
		if slices.ContainsFunc(parts, func(w string) bool { return slices.Contains(precision.words, w) }) {
			return precision.name
		}
	}
	return ""
}

// proposeVariants makes one variant of each graph, those on few modalities first.
func (p *Proposal) proposeVariants() {
	type candidate struct {
		Variant
		set []int // places of its modalities
	}
	all := make([]candidate, 0, len(p.Graphs))
	for _, g := range p.Graphs {
		c := candidate{Variant: Variant{Path: g.File, Stages: g.stages, Precision: precisionOf(g.File)}}
		for i, m := range p.Modalities {
			if valueNamed(g.Inputs, m.Inputs[0].Name) != nil {
				c.set, c.Modalities = append(c.set, i), append(c.Modalities, m.Name)
			}
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(len(a.set), len(b.set)), slices.Compare(a.set, b.set), strings.Compare(a.Precision, b.Precision))
	})
	var taken []string
	for i := 0; i < len(all); {
		end := i + 1
		for end < len(all) && slices.Equal(all[i].set, all[end].set) && all[i].Precision == all[end].Precision {
			end++
		}
		exits := !slices.ContainsFunc(all[i:end], func(c candidate) bool { return c.Stages == nil })
		if end-i > 1 && !exits {
			var same []string
			for _, c := range all[i:end] {
				same = append(same, c.Path)
			}
			p.decide(listed(same), "these graphs have the same inputs, and their names do not say how they differ",
				"put the precision in the names: fp16, bf16, int8, int4 or quant", "or keep one of them",
				"or, where they differ in another way, write mosel.yaml by hand: several variants may have the same modalities")
		}
		for ; i < end; i++ {
			name := p.variantName(all[i].Variant)
			if exits && slices.Contains(taken, name) { // of the same inputs, by different stages
				name = all[i].Stages[len(all[i].Stages)-1]
			}
			name = unique(name, nameMax, taken)
			taken = append(taken, name)
			all[i].Name = name
			if all[i].Stages != nil {
				all[i].Path = ""
			}
			p.Variants = append(p.Variants, all[i].Variant)
		}
	}
	p.noteChoice()
}

func (p *Proposal) variantName(v Variant) string {
	name := strings.Join(v.Modalities, "_")
	if len(v.Modalities) == len(p.Modalities) && len(p.Modalities) > 1 {
		name = "all"
	}
	if v.Precision != "" {
		name += "_" + v.Precision
	}
	if len(name) <= nameMax {
		return name
	}
	base := strings.TrimSuffix(path.Base(v.Path), path.Ext(v.Path))
	short := cleaned(base, nameMax, func(c rune) bool { return isLetter(c) || isDigit(c) || c == '.' || c == '-' || c == '_' }, "._-")
	if short == "" {
		return "variant"
	}
	return short
}

// noteChoice says what is missing for a choice between modalities.
func (p *Proposal) noteChoice() {
	sets := map[string]bool{}
	for _, v := range p.Variants {
		sets[strings.Join(v.Modalities, " ")] = true
	}
	if len(sets) > 1 {
		return
	}
	switch {
	case len(p.Modalities) > 1:
		p.note("all graphs take all modalities, so mosel has none to choose between: export a graph for each subset of %s that is worth running, which takes only that subset's inputs, and run mosel init again",
			strings.Join(p.modalityNames(), ", "))
	case len(p.Graphs) == 1:
		p.note("there is one graph of one modality, so mosel has nothing to choose from: add graphs of other modalities, or of reduced precision with fp16 or int8 in their names")
	}
}

func (p *Proposal) modalityNames() []string {
	names := make([]string, len(p.Modalities))
	for i, m := range p.Modalities {
		names[i] = m.Name
	}
	return names
}

// count in words, for reports.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
