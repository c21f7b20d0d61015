package main

import (
	"fmt"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/status"
)

// drift shows what was noticed about the accuracies of a model while it serves.
func (p *page) drift(d *status.Drift) {
	if d == nil {
		return
	}
	p.line("")
	found := p.styled(green, "none found")
	if d.Changed {
		found = p.styled(red, "answers score less than the profile says")
		switch d.OnDrift {
		case "replan":
			found += ", floors are kept with the lower accuracies"
		case "refuse":
			found += ", requests with a floor are refused"
		case "report":
			found += ", and it is only reported"
		}
	}
	p.listed("  "+pad("drift", labelWidth+1), ", ", found)
	p.shadows(d.Shadows)
	name := len("variant")
	for _, v := range d.Variants {
		name = max(name, utf8.RuneCountInString(v.Name))
	}
	const columns = 2 + 10 + 10 + 10 + 16 + 9 // widths of all but the name, with the indent
	name = min(name, max(10, p.width-columns))
	if d.Changed || someLive(d.Variants) {
		p.line("  %s", p.styled(dim, fmt.Sprintf("%s%10s%10s%10s%16s%9s", pad("variant", name), "profile", "planned", "live", "90 % interval", "items")))
	}
	for _, v := range d.Variants {
		p.variantDrift(pad(v.Name, name), v)
	}
	for _, hint := range d.Hints {
		p.wrapped(4, yellow, printable(hint))
	}
}

func someLive(list []status.VariantDrift) bool {
	for _, v := range list {
		if v.Live != nil {
			return true
		}
	}
	return false
}

// shadows shows how many of the items that were picked for shadow runs have run.
func (p *page) shadows(s status.ShadowRuns) {
	if s.Share == 0 {
		return
	}
	parts := []string{percent(s.Share) + " of the items", grouped(int(s.Ran)) + " ran"}
	for _, rest := range []struct {
		n    int64
		name string
	}{{s.NoIdleTime, "found no idle time"}, {s.TooMany, "were too many"}, {s.Unfit, "cannot be compared"}, {s.Failed, "failed"}} {
		if rest.n > 0 {
			parts = append(parts, grouped(int(rest.n))+" "+rest.name)
		}
	}
	p.listed("  "+pad("shadow runs", labelWidth+1), ", ", parts...)
}

// variantDrift shows a variant of which something is known.
func (p *page) variantDrift(name string, v status.VariantDrift) {
	if v.Live == nil && v.Planned == v.Profile {
		return
	}
	live, interval, items := "-", "-", "-"
	if l := v.Live; l != nil {
		live, interval, items = fmt.Sprintf("%.4f", l.Mean), fmt.Sprintf("%.4f-%.4f", l.Low, l.High), grouped(int(l.Items))
	}
	planned := fmt.Sprintf("%10.4f", v.Planned)
	if v.Planned < v.Profile {
		planned = p.styled(red, planned)
	}
	p.line("  %s%10.4f%s%10s%16s%9s", name, v.Profile, planned, live, interval, items)
}
