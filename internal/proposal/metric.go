package proposal

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/tensor"
)

// Metric is how right one answer is, as mosel.yaml says it, and why.
type Metric struct {
	Text   string   `json:"metric"` // such as accuracy, or {name: top_k, k: 5}
	Why    string   `json:"why"`
	Others []string `json:"others,omitempty"` // what else would fit, one line each
}

// guess is the metric that fits the labels and one output.
type guess struct {
	metric   Metric
	shape    []int64  // the output's, where the labels say what the graphs leave open
	classes  []string // names, in the order that was taken
	decision *Decision
	fits     int // 0: no metric can score the output; 1: a person must decide; 2: the metric is clear
}

// proposeMetric chooses the output to score, and the metric.
func (p *Proposal) proposeMetric() {
	l, err := p.readLabels()
	if err != nil {
		p.decide(p.Profile, err.Error(), "save it again with numpy.savez_compressed")
		return
	}
	best, at := guess{}, -1
	for i, out := range p.Outputs {
		if p.options.Scored != "" && out.Name != p.options.Scored {
			continue
		}
		if g := p.guessFor(out, l); at < 0 || g.fits > best.fits {
			best, at = g, i
		}
	}
	if at < 0 {
		p.decide(p.options.Scored, "it is not an output that all graphs have", "name one of: "+listed(p.outputNames()))
		return
	}
	p.first(at)
	if p.options.Metric != "" {
		p.Metric = Metric{Text: p.options.Metric, Why: "as --metric says"}
		p.Classes = best.classes
		if best.fits < 2 || !strings.Contains(p.options.Metric, best.metric.Text) {
			p.Classes = nil
		}
		return
	}
	switch {
	case best.fits == 0:
		p.decide(p.Outputs[0].Name, fmt.Sprintf("no metric can score any output that all graphs have (%s)%s", p.outputsText(), l.suffix()),
			"for scores of your own: --metric external", "docs/model-package.md lists the metrics: --metric NAME")
	case best.decision != nil:
		p.Decisions = append(p.Decisions, *best.decision)
	default:
		p.Metric, p.Classes = best.metric, best.classes
		if isLogit(p.Outputs[0]) && best.metric.Text == "accuracy" {
			p.note("%s looks like logits; probabilities are better, because the largest is taken as the confidence: export the graphs with a softmax", clip(p.Outputs[0].Name))
		}
		if best.shape != nil {
			p.Outputs[0].Shape = best.shape
			p.Outputs[0].Comments = append(p.Outputs[0].Comments, "the graphs leave its shape open; this is as many as the labels have")
		}
	}
}

func (p *Proposal) outputNames() []string {
	names := make([]string, len(p.Outputs))
	for i, out := range p.Outputs {
		names[i] = out.Name
	}
	return names
}

func (p *Proposal) outputsText() string {
	texts := make([]string, len(p.Outputs))
	for i, out := range p.Outputs {
		texts[i] = fmt.Sprintf("%s is %s %v", clip(out.Name), out.Datatype, tensor.Shape(out.Shape))
	}
	return strings.Join(texts, ", ")
}

// guessFor finds the metric for an output.
func (p *Proposal) guessFor(out Tensor, l labels) guess {
	if out.dtype != tensor.FP32 && out.dtype != tensor.FP16 && out.dtype != tensor.FP64 {
		return guess{}
	}
	f := formOf(out.Shape)
	ask := func(why string, answers ...string) guess {
		return guess{fits: 1, decision: &Decision{About: out.Name, Why: why, Answers: answers}}
	}
	switch {
	case l.kind == "":
		return unlabelled(out, f, ask)
	case l.gallery && f == listForm:
		if why := p.galleryFault(out, l); why != "" {
			return ask(why, "docs/model-package.md says what retrieval needs", "or take the gallery out of the file")
		}
		return sure("retrieval", fmt.Sprintf("%s are embeddings and %s has a gallery: an answer is right if the nearest of the gallery has its label", clip(out.Name), clip(p.Profile)))
	case l.width == 1 && l.kind != "float" && l.rank != 1 && f != numberForm:
		return ask("the labels have one number a sample and more than one dimension", "save label.reshape(-1)")
	case l.width == 1 && l.kind == "texts":
		return l.named(out, f, ask)
	case l.width == 1 && l.kind == "whole" && f != numberForm:
		return l.numbered(out, f, ask)
	case l.width == 1 && f == numberForm && l.kind == "whole" && l.bits:
		return binary(out, "0 or 1")
	case l.width == 1 && f == listForm && l.kind == "float" && l.integral:
		return ask(fmt.Sprintf("the labels are whole numbers saved as floating-point numbers, and the output has %d numbers", size(out)),
			"if they are classes, save them with astype(numpy.int64)", "if they are measured values, the output must have one number")
	case f == tokensForm && l.kind == "whole" && l.rank == 2:
		return tokens(out, l, ask)
	case f == listForm && l.kind == "whole" && l.bits && int64(l.width) == size(out):
		return multilabel(out, l, ask)
	case openSizes(out) == 0 && size(out) == int64(l.width) && l.kind != "texts":
		return ask("the labels are measured numbers: what counts as right?",
			fmt.Sprintf("the right sign: --metric sign (the labels are from %.4g to %.4g)", l.least, l.greatest),
			fmt.Sprintf("an error of at most T: --metric '{name: within, tolerance: %.2g}'", tenth(l.greatest-l.least)),
			fmt.Sprintf("the smaller the error the better: --metric '{name: bounded_error, scale: %.2g}'", tenth(10*(l.greatest-l.least))))
	}
	return guess{}
}

// galleryFault says why a gallery does not fit an output; "" if it does.
func (p *Proposal) galleryFault(out Tensor, l labels) string {
	gallery, identities := p.chosen.array(galleryArray), p.chosen.array(galleryLabelArray)
	switch {
	case l.rank != 1 || l.kind == "float":
		return "there is a gallery, and the labels are not one number or text a sample"
	case len(gallery.Shape) != 2 || gallery.Shape[1] != size(out) || gallery.Shape[0] < 1:
		return fmt.Sprintf("the gallery has shape %v; the embeddings have %d numbers, so it must be [entries, %d]", gallery.Shape, size(out), size(out))
	case len(identities.Shape) != 1 || identities.Shape[0] != gallery.Shape[0]:
		return fmt.Sprintf("the gallery has shape %v and its labels %v; there must be one for each entry", gallery.Shape, identities.Shape)
	}
	return ""
}

func sure(metric, why string, others ...string) guess {
	return guess{fits: 2, metric: Metric{metric, why, others}}
}

// tenth is a tenth of a spread, and above 0.
func tenth(spread float64) float64 {
	if !(spread > 0) {
		return 0.1
	}
	return spread / 10
}

// The forms of outputs.
const (
	numberForm = "number" // one number
	listForm   = "list"   // of classes, labels or dimensions
	tokensForm = "tokens" // [tokens, classes]
	openForm   = "open"   // the graphs leave the size of a list open, or all of the shape
	otherForm  = "other"
)

func formOf(s []int64) string {
	large, open := 0, 0
	for _, d := range s {
		if d > 1 {
			large++
		}
		if d < 0 {
			open++
		}
	}
	switch {
	case s == nil, open == 1 && len(s) == 1:
		return openForm
	case open == 0 && large == 0:
		return numberForm
	case open == 0 && large == 1:
		return listForm
	case len(s) == 2 && s[1] > 1:
		return tokensForm
	}
	return otherForm
}

func size(t Tensor) int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// unlabelled is the metric that an output suggests where there are no labels.
func unlabelled(out Tensor, f string, ask func(string, ...string) guess) guess {
	assumed := "no labelled samples were found: assumed, because %s has shape %v; the package can be served only after mosel profile, which needs samples"
	switch f {
	case listForm:
		g := sure("accuracy", fmt.Sprintf(assumed, clip(out.Name), tensor.Shape(out.Shape)), "multilabel if several labels may be right, retrieval if these are embeddings")
		return g
	case tokensForm:
		return sure("token_accuracy", fmt.Sprintf(assumed, clip(out.Name), tensor.Shape(out.Shape)), "external for scores of your own")
	case numberForm:
		return ask("the output is one number and there are no labels: what is it?", "a probability: --metric binary", "a measured value: --metric sign, or --metric '{name: within, tolerance: 0.5}'",
			"or put labelled samples beside the graphs")
	case openForm:
		return ask("the graphs leave its shape open and there are no labels", fmt.Sprintf("give the shape without the batch: --shape %s=10", clip(out.Name)), "or put labelled samples beside the graphs")
	}
	return guess{}
}

// tokens is the metric of outputs and labels that have a class for every token.
func tokens(out Tensor, l labels, ask func(string, ...string) guess) guess {
	const padding = "-100 marks padding"
	switch {
	case out.Shape[0] >= 0 && out.Shape[0] != int64(l.width):
		return ask(fmt.Sprintf("the output has %d tokens and the labels %d", out.Shape[0], l.width), "save a class for each token")
	case l.leastClass < 0 || l.greatest >= float64(out.Shape[1]):
		return ask(fmt.Sprintf("the labels are from %.0f to %.0f and the output has %d classes for each token", l.least, l.greatest, out.Shape[1]),
			"save the classes' numbers, from 0; "+padding, "if another label marks padding: --metric '{name: token_accuracy, padding: N}'")
	case l.onlyPadding:
		return ask("the labels of a sample are padding only; nothing of it can be scored", "leave such samples out", padding)
	}
	return sure("token_accuracy", fmt.Sprintf("%s has scores of classes for every token, and the labels a class for every token; %s", clip(out.Name), padding),
		"{name: token_accuracy, padding: N} if another label than -100 marks padding")
}

// isLogit reports whether an output's name says that its numbers are no probabilities.
func isLogit(out Tensor) bool {
	return slices.ContainsFunc(words(out.Name), func(w string) bool { return strings.HasPrefix(w, "logit") })
}

// binary is the metric of one number and labels of two kinds.
func binary(out Tensor, labels string) guess {
	metric := "binary"
	if isLogit(out) {
		metric = "{name: binary, values: logit}"
	}
	return sure(metric, fmt.Sprintf("%s is one number and every label is %s: right is at or above the threshold just for label 1", clip(out.Name), labels),
		"{name: binary, values: logit} if the number is a logit and no probability", "{name: binary, threshold: 0.7} for another threshold than 0.5", "sign or within if it is a measured value")
}

func multilabel(out Tensor, l labels, ask func(string, ...string) guess) guess {
	if l.oneHot {
		return ask("every label has exactly one 1: is one class right, or any number of labels?",
			"one class: save label.argmax(axis=1), the class's number", "any number of labels: --metric multilabel")
	}
	metric := "multilabel"
	if isLogit(out) {
		metric = "{name: multilabel, values: logit}"
	}
	return sure(metric, fmt.Sprintf("%s has a number for each of %d labels, and the samples a 0 or 1 for each", clip(out.Name), l.width),
		"{name: multilabel, score: f1} for the F1 of each sample", "{name: multilabel, values: logit} if the numbers are logits and no probabilities")
}
