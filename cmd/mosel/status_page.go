package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/status"
)

// decisionsShown is the number of decisions on a page; JSON has more.
const decisionsShown = 5

// statusPage formats a status as a page.
func statusPage(s status.Status, width int, color bool) string {
	p := newPage(width, color)
	p.server(s.Server)
	for _, m := range s.Models {
		p.line("")
		p.model(m)
	}
	p.line("")
	p.queue(s)
	p.instances(s.Instances)
	p.clients(s.Clients, s.Queue.ClientsTotal)
	p.decisions(s)
	return p.b.String()
}

// heading formats the label of a line, labelWidth characters wide.
func (p *page) heading(text string) string { return p.styled(bold, pad(text, labelWidth)) }

const labelWidth = 11

func (p *page) server(s status.Server) {
	state := p.styled(green, "ready")
	switch {
	case s.Draining:
		state = p.styled(yellow, "draining")
	case !s.Ready:
		state = p.styled(red, "not ready")
	}
	parts := []string{p.styled(bold, s.Name) + " " + s.Version, "policy " + s.Policy, state, "up " + span(s.UptimeS)}
	p.listed("", " · ", append(parts, p.styled(dim, "recent: the last "+span(s.RecentS)))...)
	if s.TokensStale != "" {
		p.wrapped(2, yellow, "the tokens file was not read again, older tokens are in use: "+printable(s.TokensStale))
	}
}

func (p *page) model(m status.Model) {
	state := p.styled(green, m.State)
	if m.State != "ready" {
		state = p.styled(red, m.State)
	}
	p.line("%s · %s", p.styled(bold, m.Name)+" "+m.Version, state)
	if m.Detail != "" {
		p.wrapped(2, yellow, m.Detail)
	}
	if len(m.Variants) == 0 {
		return
	}
	label := func(text string) string { return "  " + pad(text, labelWidth+1) }
	p.listed(label("jobs"), ", ", p.outcomes(m.Recent.Jobs, m.Jobs.Total())...)
	if len(m.Reasons) > 0 {
		var reasons []string
		for _, r := range slices.SortedFunc(maps.Keys(m.Reasons), func(a, b string) int {
			return cmp.Or(cmp.Compare(m.Reasons[b], m.Reasons[a]), cmp.Compare(a, b))
		}) {
			reasons = append(reasons, strings.ReplaceAll(r, "_", " ")+" "+grouped(m.Reasons[r]))
		}
		reasons[0] = "in total: " + reasons[0]
		p.listed(label("not run"), ", ", reasons...)
	}
	p.listed(label("accuracy"), ", ", expected(m.Recent.Accuracy)+" expected recently", expected(m.Accuracy)+" in total")
	p.listed(label("waiting"), ", ", counted(m.QueuedItems, "item"), grouped(m.RunningItems)+" running", counted(m.UnfinishedJobs, "job")+" unfinished")
	if b := m.Recent.Batches; b.Count > 0 {
		p.listed(label("batches"), ", ", grouped(b.Count)+" recently", fmt.Sprintf("%.1f items on average", b.MeanItems), fmt.Sprintf("%d at most", b.MaxItems))
	}
	if m.Recent.Total.Count > 0 {
		p.line("")
		p.latencies(m.Recent)
	}
	p.line("")
	p.mix(m.Variants)
	p.labels(m.Feedback)
	p.drift(m.Drift)
}

// expected formats an accuracy; "-" if nothing has run.
func expected(accuracy float64) string {
	if accuracy == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4f", accuracy)
}

// outcomes shows the outcomes of recent jobs: the share on time, then the other
// outcomes that occurred.
func (p *page) outcomes(o status.Outcomes, all int) []string {
	if o.Total() == 0 {
		return []string{"none recently", grouped(all) + " in total"}
	}
	share := float64(o.OnTime) / float64(o.Total())
	style := green
	switch {
	case share < 0.9:
		style = red
	case share < 0.99:
		style = yellow
	}
	parts := []string{p.styled(style, percent(share)+" on time") + " of " + grouped(o.Total()) + " recently"}
	for _, rest := range []struct {
		n    int
		name string
	}{{o.Late, "late"}, {o.Shed, "shed"}, {o.Infeasible, "infeasible"}, {o.Cancelled, "cancelled"}, {o.Failed, "failed"}} {
		if rest.n > 0 {
			parts = append(parts, grouped(rest.n)+" "+rest.name)
		}
	}
	return append(parts, p.styled(dim, grouped(all)+" in total"))
}

func (p *page) latencies(r status.Recent) {
	p.line("  %s", p.styled(dim, pad("ms", labelWidth)+fmt.Sprintf("%10s%10s%10s%10s", "mean", "p50", "p95", "p99")))
	for _, row := range []struct {
		name string
		l    status.Latency
	}{{"queue", r.Queue}, {"compute", r.Compute}, {"total", r.Total}} {
		p.line("  %s%10s%10s%10s%10s", pad(row.name, labelWidth), millis(row.l.MeanMS), millis(row.l.P50MS), millis(row.l.P95MS), millis(row.l.P99MS))
	}
}

// mix shows the variants and their shares of the items.
func (p *page) mix(variants []status.Variant) {
	name, recent, all := len("variant"), 0, 0
	for _, v := range variants {
		name = max(name, utf8.RuneCountInString(v.Name))
		recent, all = recent+v.RecentItems, all+v.Items
	}
	const columns, barMin, barMax = 2 + 10 + 9 + 11 + 2 + 9 + 12, 12, 30 // widths of all but name and bar, with the indent
	name = min(name, max(10, p.width-columns-barMin))
	wide := min(barMax, p.width-name-columns)
	mix := "recent mix"
	if wide < len(mix) {
		mix = "recent"
	}
	p.line("  %s", p.styled(dim, fmt.Sprintf("%s%10s%9s%11s  %s%9s%12s", pad("variant", name), "accuracy", "ms/item", "× profile", pad(mix, wide), "", "in total")))
	for _, v := range variants {
		scale := fmt.Sprintf("%11.2f", v.TimeScale)
		if v.TimeScale > scaleNoted {
			scale = p.styled(yellow, scale)
		}
		share := float64(v.RecentItems) / float64(max(1, recent))
		p.line("  %s%10.4f%9s%s  %s%9s%12s", pad(v.Name, name), v.Accuracy, millis(v.ItemMS), scale, p.styled(cyan, bar(share, wide)),
			percent(share), percent(float64(v.Items)/float64(max(1, all))))
	}
	for _, v := range variants {
		if v.Failures > 0 {
			p.wrapped(2, red, fmt.Sprintf("%s: the runtime failed %s", cut(v.Name, 40), counted(v.Failures, "batch")))
		}
	}
}

// scaleNoted is the time scale above which a variant is marked as slow: the profile
// is of another machine, or other programs use this one.
const scaleNoted = 1.25

func (p *page) queue(s status.Status) {
	q := s.Queue
	unfinished := q.Items + q.Running
	parts := []string{fmt.Sprintf("%s of %s items", grouped(unfinished), grouped(q.ItemsMax)), fmt.Sprintf("%s of %s jobs", grouped(q.Jobs), grouped(q.JobsMax)), size(q.Bytes)}
	if q.BytesMax > 0 {
		parts[2] += " of " + size(q.BytesMax)
	}
	full := max(float64(unfinished)/float64(max(1, q.ItemsMax)), float64(q.Jobs)/float64(max(1, q.JobsMax)), float64(q.Bytes)/float64(max(1, q.BytesMax)))
	if q.BytesMax == 0 {
		full = max(float64(unfinished)/float64(max(1, q.ItemsMax)), float64(q.Jobs)/float64(max(1, q.JobsMax)))
	}
	style := cyan
	if full > 0.8 {
		style = red
	}
	p.listed(p.heading("queue")+" "+p.styled(style, bar(full, 10))+" ", " · ", append(parts, "empty in "+span(q.WaitingMS/1e3))...)
}

func (p *page) instances(list []status.Instance) {
	for i, in := range list {
		label := p.heading("")
		if i == 0 {
			label = p.heading("instances")
		}
		does := p.styled(dim, "idle")
		switch {
		case !in.Up:
			does = p.styled(red, "down")
		case len(in.Running) > 0:
			r := in.Running[0]
			does = fmt.Sprintf("%d × %s %s, %s of %s ms", r.Items, r.Model, r.Variant, millis(r.ForMS), millis(r.PredictedMS))
			if in.Slots > 1 {
				does = fmt.Sprintf("%d of %d slots, the longest: %s", len(in.Running), in.Slots, does)
			}
			does = cut(does, p.width-labelWidth-28)
		}
		if in.Losses > 0 {
			does += p.styled(yellow, ", lost "+counted(in.Losses, "time"))
		}
		p.line("%s %s %8s  %2d  %s", label, p.styled(cyan, bar(in.BusyShare, 10)), percent(in.BusyShare), in.ID, does)
	}
}

func (p *page) clients(list []status.Client, total int) {
	if len(list) == 0 {
		return
	}
	var parts []string
	for _, c := range list {
		name := printable(c.Name)
		if name == "" {
			name = "(no name)"
		}
		parts = append(parts, fmt.Sprintf("%s %s in %s", cut(name, 24), counted(c.Items, "item"), counted(c.Jobs, "job")))
	}
	if total > len(list) {
		parts = append(parts, fmt.Sprintf("%d more", total-len(list)))
	}
	p.listed(p.heading("clients")+" ", " · ", parts...)
}

func (p *page) decisions(s status.Status) {
	if len(s.Decisions) == 0 {
		return
	}
	p.line("")
	p.line("%s", p.styled(bold, "latest decisions"))
	for _, d := range s.Decisions[:min(len(s.Decisions), decisionsShown)] {
		ago := span(s.Server.Now.Sub(d.Started).Seconds()) + " ago"
		took := millis(d.MeasuredMS) + " ms (" + millis(d.PredictedMS) + " predicted)"
		if d.State == "running" || d.State == "lost" || d.State == "unknown" {
			took = millis(d.PredictedMS) + " ms predicted"
		}
		state := d.State
		switch d.State {
		case "done":
			state = ""
		case "failed", "lost":
			state = p.styled(red, state)
		default:
			state = p.styled(yellow, state)
		}
		parts := []string{fmt.Sprintf("%d × %s %s", d.Items, d.Model, d.Variant), took}
		if state != "" {
			parts = append(parts, state)
		}
		p.listed("  "+pad(ago, 17), ", ", parts...)
		p.wrapped(19, dim, d.Why)
	}
}
