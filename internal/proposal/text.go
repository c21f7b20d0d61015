package proposal

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

// page is the mosel.yaml of a proposal, with the reasons as comments.
var page = template.Must(template.New("").Funcs(template.FuncMap{
	"q": quoted, "list": quotedList, "declare": declared, "comment": comment,
}).Parse(`# yaml-language-server: $schema=https://raw.githubusercontent.com/mosel-serve/mosel/main/docs/mosel.schema.json
# Written by mosel init from the graphs{{if .Profile}} and the samples{{end}}. Comments give the reasons. docs/model-package.md describes the keys.
# Run mosel check after every change.
{{- if .Decisions}}
# This is a draft. Decide first:
{{- range .Decisions}}{{range comment "  " (printf "%s: %s" .About .Why)}}
{{.}}
{{- end}}{{end}}
{{- end}}
format: 1
name: {{q .Name}}
{{- if .Metric.Why}}
{{- range comment "" .Metric.Why}}
{{.}}
{{- end}}{{end}}
{{- if .Metric.Others}}
# Also possible:
{{- range .Metric.Others}}{{range comment "  " .}}
{{.}}
{{- end}}{{end}}
{{- end}}
metric:{{if .Metric.Text}} {{.Metric.Text}}{{end}}
modalities:
{{- range .Modalities}}
  - name: {{q .Name}} # {{.Why}}
    inputs:
{{- range .Inputs}}
{{- range .Comments}}
      # {{.}}
{{- end}}
      - {{declare .}}
{{- end}}
{{- end}}
{{- if .LeftOut}}
# Left out, because every graph must have an output, with the batch first:
{{- range .LeftOut}}{{range comment "  " (printf "%s: %s" (q .Name) .Why)}}
{{.}}
{{- end}}{{end}}
{{- end}}
outputs:{{if .Several}} # the metric scores the first{{end}}
{{- range .Outputs}}
{{- range .Comments}}
  # {{.}}
{{- end}}
  - {{declare .}}
{{- end}}
{{- if .Stages}}
# Each graph is loaded once, and what several variants need is computed by the same stage.
stages:
{{- range .Stages}}
  - {name: {{q .Name}}, path: {{q .File}}}
{{- end}}
{{- end}}
variants:
{{- range .Variants}}
  - {name: {{q .Name}}, modalities: {{list .Modalities}}, {{if .Stages}}stages: {{list .Stages}}{{else}}path: {{q .Path}}{{end}}{{if .Precision}}, precision: {{.Precision}}{{end}}}
{{- end}}
{{- if .Classes}}
# The labels in sorted order. Check that the output has that order.
classes: {{list .Classes}}
{{- end}}
{{- if eq .MaxBatch 1}}
# A graph fixes the batch at 1. Export it with a dynamic batch: larger batches take less time for each item.
limits: {max_batch: 1}
{{- end}}
{{- if .Evaluation}}
{{.Evaluation}}
{{- end}}
`))

// YAML is the text of the mosel.yaml. With open decisions it is a draft.
func (p *Proposal) YAML() []byte {
	var b bytes.Buffer
	// it can only fail where the template is wrong, which tests find
	if err := page.Execute(&b, struct {
		*Proposal
		Several    bool
		Evaluation string
	}{p, len(p.Outputs) > 1, p.evaluation()}); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// evaluation is the part about labelled samples.
func (p *Proposal) evaluation() string {
	switch {
	case p.Profile == "":
		return "# Without labelled samples the model cannot be profiled. Save them as an .npz with one array for each input, and label:\n" +
			"# evaluation: {profile: eval/profile.npz, heldout: eval/heldout.npz}"
	case p.external():
		return "# With the metric external, write scores/<variant>.npy first, one number in [0, 1] for each sample:\n" +
			"# evaluation: {profile: " + quoted(p.Profile) + "}"
	case p.HeldOut == "":
		return "# There are no held-out samples, which mosel replay measures accuracy on: mosel init --split 0.5 divides a file in two.\n" +
			"evaluation: {profile: " + quoted(p.Profile) + "}"
	}
	return "evaluation: {profile: " + quoted(p.Profile) + ", heldout: " + quoted(p.HeldOut) + "}"
}

// declared is a tensor as mosel.yaml declares it.
func declared(t Tensor) string {
	parts := []string{"name: " + quoted(t.Name), "datatype: " + t.Datatype, "shape: " + shapeList(t.Shape)}
	if t.Max > 0 {
		parts = append(parts, fmt.Sprintf("max: %d", t.Max))
	}
	if t.Range != nil {
		parts = append(parts, fmt.Sprintf("range: [%d, %d]", t.Range[0], t.Range[1]))
	}
	if t.Media != "" {
		parts = append(parts, "media: "+t.Media)
	}
	parts = append(parts, bucketText(t)...)
	if t.Unbatched {
		parts = append(parts, "batched: false")
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func shapeList(s []int64) string {
	sizes := make([]string, len(s))
	for i, d := range s {
		sizes[i] = strconv.FormatInt(d, 10)
	}
	return "[" + strings.Join(sizes, ", ") + "]"
}

// plainForm is a text that needs no quotes in YAML, unless it is in reserved.
var plainForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]*$`)

var reserved = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}

// quoted is a text as a YAML value, without quotes where it needs none.
func quoted(text string) string {
	if plainForm.MatchString(text) && !slices.Contains(reserved, strings.ToLower(text)) {
		return text
	}
	return strconv.QuoteToASCII(text)
}

func quotedList(texts []string) string {
	all := make([]string, len(texts))
	for i, t := range texts {
		all[i] = quoted(t)
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// commentWidth is where lines of comments end.
const commentWidth = 150

// comment breaks a text into lines of comments.
func comment(indent, text string) []string {
	start := "# " + indent
	line := start
	var lines []string
	for word := range strings.FieldsSeq(text) {
		if line != start && len(line)+1+len(word) > commentWidth {
			lines, line = append(lines, line), start
		}
		if line != start {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
