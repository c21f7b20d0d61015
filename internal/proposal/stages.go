package proposal

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Stage is a graph that others read outputs of, or that reads outputs of others.
type Stage struct {
	Name string `json:"name"`
	File string `json:"file"`
}

// connect finds graphs that read outputs of others: stages of variants. The last of each
// chain then stands for the whole chain, with all inputs that a request gives.
func (p *Proposal) connect() {
	feeds, ok := p.feeds()
	if !ok || !slices.ContainsFunc(feeds, func(f []int) bool { return len(f) > 0 }) {
		return
	}
	read := make([]bool, len(p.Graphs))
	for _, list := range feeds {
		for _, from := range list {
			read[from] = true
		}
	}
	names := make([]string, len(p.Graphs))
	for i, g := range p.Graphs {
		if read[i] || len(feeds[i]) > 0 {
			base := strings.TrimSuffix(path.Base(g.File), path.Ext(g.File))
			names[i] = unique(stageName(base), nameMax, names[:i])
			p.Stages = append(p.Stages, Stage{names[i], g.File})
		}
	}
	var lasts []Graph
	for i, g := range p.Graphs {
		if read[i] {
			continue
		}
		if len(feeds[i]) > 0 {
			order, cyclic := chain(i, feeds)
			if cyclic {
				p.decide(g.File, "it reads its own outputs through other graphs", "export the stages again, so that each reads outputs of earlier ones only")
				return
			}
			g = p.joined(order, names)
		}
		lasts = append(lasts, g)
	}
	if len(lasts) == 0 {
		p.decide("stages", "every graph reads outputs of another one, in a circle", "export the stages again, so that each reads outputs of earlier ones only")
		return
	}
	p.Graphs = lasts
}

func stageName(base string) string {
	name := cleaned(base, nameMax, func(c rune) bool { return isLetter(c) || isDigit(c) || c == '.' || c == '-' || c == '_' }, "._-")
	if name == "" {
		return "stage"
	}
	return name
}

// feeds lists, by graph, the graphs whose outputs it reads. It returns false if it is not
// known which.
func (p *Proposal) feeds() (feeds [][]int, known bool) {
	known = true
	feeds = make([][]int, len(p.Graphs))
	for i, g := range p.Graphs {
		for _, in := range g.Inputs {
			var from []int
			var files []string
			for k, other := range p.Graphs {
				if k != i && valueNamed(other.Outputs, in.Name) != nil {
					from, files = append(from, k), append(files, other.File)
				}
			}
			switch {
			case len(from) > 1:
				p.decide(g.File, fmt.Sprintf("its input %s is an output of %s", clip(in.Name), listed(files)),
					"give each of these outputs a name of its own, so that it is clear which stage reads which",
					"or write stages in a mosel.yaml by hand (docs/model-package.md)")
				known = false
			case len(from) == 1 && !handsOver(valueNamed(p.Graphs[from[0]].Outputs, in.Name), &in):
				out := valueNamed(p.Graphs[from[0]].Outputs, in.Name)
				p.decide(g.File, fmt.Sprintf("its input %s is %s %v, and the output of that name of %s is %s %v", clip(in.Name), in.Datatype, in.Shape, files[0], out.Datatype, out.Shape),
					"if it reads that output, export both with the same type and shape",
					"if it does not, give one of them another name")
				known = false
			case len(from) == 1 && !slices.Contains(feeds[i], from[0]):
				feeds[i] = append(feeds[i], from[0])
			}
		}
	}
	return feeds, known
}

// handsOver reports whether an input takes an output as it is: -1 takes any size, and a
// shape that a graph leaves open any shape.
func handsOver(out, in *Value) bool {
	if out.Datatype != in.Datatype {
		return false
	}
	if out.Shape == nil || in.Shape == nil {
		return true
	}
	return slices.EqualFunc(out.Shape, in.Shape, func(a, b int64) bool { return a == b || a == -1 || b == -1 })
}

// chain lists the graphs that a graph needs, each after those that it reads, and the graph
// itself as the last.
func chain(last int, feeds [][]int) (order []int, cyclic bool) {
	const visiting, done = 1, 2
	state := map[int]int{}
	var visit func(int)
	visit = func(i int) {
		cyclic = cyclic || state[i] == visiting
		if state[i] != 0 {
			return
		}
		state[i] = visiting
		for _, from := range feeds[i] {
			visit(from)
		}
		state[i] = done
		order = append(order, i)
	}
	visit(last)
	return order, cyclic
}

// joined is a chain of graphs as one: with the inputs that none of them gives.
func (p *Proposal) joined(order []int, names []string) Graph {
	last := p.Graphs[order[len(order)-1]]
	g := Graph{File: last.File, Outputs: last.Outputs}
	var given []string
	for _, i := range order {
		g.stages = append(g.stages, names[i])
		for _, in := range p.Graphs[i].Inputs {
			if !slices.Contains(given, in.Name) && valueNamed(g.Inputs, in.Name) == nil {
				g.Inputs = append(g.Inputs, in)
			}
		}
		for _, out := range p.Graphs[i].Outputs {
			given = append(given, out.Name)
		}
	}
	return g
}
