package main

import (
	"fmt"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/status"
)

// labels shows what labels that came later say, beside what was promised.
func (p *page) labels(f *status.Feedback) {
	if f == nil {
		return
	}
	p.line("")
	parts := []string{fmt.Sprintf("%s of %s items can be labelled, for %s each", grouped(f.KeptItems), grouped(f.KeptItemsMax), span(f.KeepS))}
	if f.Unknown > 0 {
		parts = append(parts, counted(f.Unknown, "label")+" of unknown requests")
	}
	p.listed("  "+pad("feedback", labelWidth+1), ", ", parts...)
	if len(f.Variants) == 0 {
		return
	}
	name := len("labelled")
	for _, v := range f.Variants {
		name = max(name, utf8.RuneCountInString(v.Name))
	}
	const columns = 2 + 10 + 16 + 10 + 9 + 10 // widths of all but the name, with the indent
	name = min(name, max(10, p.width-columns))
	p.line("  %s", p.styled(dim, fmt.Sprintf("%s%10s%16s%10s%9s", pad("labelled", name), "measured", "95 % interval", "promised", "items")))
	for _, v := range f.Variants {
		p.measured(pad(v.Name, name), v.Sampled, "")
		p.measured(pad(v.Name, name), v.Selected, "  selected")
	}
}

// measured shows the accuracy of labelled items, marked where the promise is above what
// sampled items can have.
func (p *page) measured(name string, m status.Measured, note string) {
	if m.Items == 0 {
		return
	}
	accuracy := fmt.Sprintf("%10.4f", m.Accuracy)
	if note == "" && m.High < m.Promised {
		accuracy = p.styled(red, accuracy)
	}
	p.line("  %s%s%16s%10.4f%9s%s", name, accuracy, fmt.Sprintf("%.4f-%.4f", m.Low, m.High), m.Promised, grouped(m.Items), p.styled(dim, note))
}
