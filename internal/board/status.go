package board

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/status"
)

// Where the columns of the page of a server begin.
const (
	headColumn  = 11 // what comes after the name of a part
	nameMax     = 24 // longer names of variants are cut
	clientsMax  = 5  // clients that are shown
	decisionMax = 6  // decisions that are shown where the height is not known
)

// Status is the page of a server: what it does now, and did lately.
func (p Paper) Status(st status.Status) string {
	s := p.sheet()
	s.server(st.Server)
	s.queue(st.Queue, st.Clients)
	s.instances(st.Instances)
	for i := range st.Models {
		s.line()
		s.model(&st.Models[i], st.Server.RecentS)
	}
	s.decisions(st.Decisions)
	return s.page()
}

// page is what was written, as far as there is room for it.
func (s *sheet) page() string {
	text := s.text.String()
	lines := strings.SplitAfter(text, "\n")
	if s.Height == 0 || len(lines)-1 <= s.Height {
		return text
	}
	more := &sheet{Paper: s.Paper}
	more.put(faint, "… %s more", counted(len(lines)-s.Height, "line"))
	return strings.Join(lines[:s.Height-1], "") + more.text.String() + "\n"
}

func (s *sheet) server(v status.Server) {
	s.put(strong, "%s", v.Name)
	s.to(headColumn)
	switch {
	case v.Draining:
		s.put(doubt, "draining")
	case v.Ready:
		s.put(good, "ready")
	default:
		s.put(doubt, "not ready")
	}
	s.put(plain, "   policy ")
	s.put(accent, "%s", v.Policy)
	s.put(plain, "   up %s   ", duration(v.UptimeS*1000))
	s.put(faint, "version %s; recent: the last %s", v.Version, duration(v.RecentS*1000))
	s.line()
}

func (s *sheet) queue(q status.Queue, clients []status.Client) {
	s.head("queue")
	s.put(plain, "%s, %s, %s", within("items", q.Items, q.ItemsMax), within("requests", q.Jobs, q.JobsMax), size(q.Bytes))
	if q.BytesMax > 0 {
		s.put(faint, " of %s", size(q.BytesMax))
	}
	s.line()
	s.to(headColumn)
	s.put(plain, "%s running, ", counted(q.Running, "item"))
	i := plain
	if q.WaitingMS >= 100 {
		i = doubt
	}
	s.put(i, "%s until all of it is worked off", duration(q.WaitingMS))
	s.line()
	if len(clients) == 0 {
		return
	}
	s.head("clients")
	for n, c := range clients {
		part := fmt.Sprintf("%s %s", cut(c.Name), count(c.Items))
		if n == clientsMax || n > 0 && s.column+utf8.RuneCountInString(part)+20 > s.Width {
			break
		}
		if n > 0 {
			s.put(plain, ", ")
		}
		s.put(plain, "%s", part)
		if n == 0 {
			s.put(faint, " items unfinished")
		}
	}
	s.put(faint, " (%s in all)", count(q.ClientsTotal))
	s.line()
}

// within is a number beside its bound.
func within(things string, n, most int) string {
	if most == 0 {
		return fmt.Sprintf("%s %s", count(n), things)
	}
	return fmt.Sprintf("%s of %s %s", count(n), count(most), things)
}

func (s *sheet) head(name string) {
	s.put(strong, "%s", name)
	s.to(headColumn)
}

// Where the parts of an instance's line begin.
const (
	busyColumn    = headColumn + 4
	busyWidth     = 12
	percentColumn = busyColumn + busyWidth + 1
	runsColumn    = percentColumn + 7
)

func (s *sheet) instances(instances []status.Instance) {
	s.head("instances")
	if len(instances) == 0 {
		s.put(faint, "none")
		s.line()
	}
	for _, in := range instances {
		s.to(headColumn)
		s.put(plain, "%d", in.ID)
		s.to(busyColumn)
		s.bar(accent, in.BusyShare, busyWidth)
		s.to(percentColumn)
		s.put(plain, "%3.0f %%", 100*in.BusyShare)
		s.to(runsColumn)
		switch r := in.Running; {
		case !in.Up:
			s.put(bad, "down")
		case r == nil:
			s.put(faint, "idle")
		default:
			s.put(plain, "%s %s, %s, ", r.Model, r.Variant, counted(r.Items, "item"))
			s.put(plain, "for %s", duration(r.ForMS))
			s.put(faint, " of %s", duration(r.PredictedMS))
		}
		if in.Losses > 0 {
			s.put(bad, "; lost %s", counted(in.Losses, "time"))
		}
		s.line()
	}
}

func (s *sheet) model(m *status.Model, recentS float64) {
	s.put(strong, "%s", m.Name)
	s.to(headColumn)
	s.put(plain, "version %s   ", m.Version)
	i := good
	if m.State != "ready" {
		i = bad
	}
	s.put(i, "%s", m.State)
	if m.Detail != "" {
		s.put(doubt, ": %s", m.Detail)
	}
	if len(m.Variants) == 0 {
		s.line()
		return
	}
	s.put(faint, "   %s", strings.Join(m.Modalities, ", "))
	s.line()
	s.outcomes(m, recentS)
	s.latencies(&m.Recent)
	s.variants(m)
}

// outcomes tells how the recent requests of a model ended.
func (s *sheet) outcomes(m *status.Model, recentS float64) {
	o := m.Recent.Jobs
	s.put(plain, "  recent")
	s.to(headColumn)
	if o.Total() == 0 {
		s.put(faint, "nothing ended; %s since the start", counted(m.Jobs.Total(), "request"))
		s.line()
		return
	}
	for n, part := range []struct {
		word string
		jobs int
		ink  ink
	}{{"on time", o.OnTime, good}, {"late", o.Late, doubt}, {"shed", o.Shed, bad}, {"infeasible", o.Infeasible, bad},
		{"cancelled", o.Cancelled, faint}, {"failed", o.Failed, bad}} {
		if part.jobs == 0 && n > 0 {
			continue
		}
		if n > 0 {
			s.put(plain, ", ")
		}
		s.put(part.ink, "%s %s", count(part.jobs), part.word)
		s.put(plain, " %s", percent(part.jobs, o.Total()))
	}
	s.line()
	s.to(headColumn)
	s.put(plain, "%s items/s", number(float64(m.Recent.Items.OnTime+m.Recent.Items.Late)/max(recentS, 0.001)))
	if m.Recent.Accuracy > 0 {
		s.put(plain, " of expected accuracy ")
		s.put(accent, "%.4f", m.Recent.Accuracy)
	}
	if b := m.Recent.Batches; b.Count > 0 {
		s.put(faint, "; batches of %s items, at most %d", number(b.MeanItems), b.MaxItems)
	}
	s.line()
}

// latencies is a small table: queue, compute and total by quantile.
func (s *sheet) latencies(r *status.Recent) {
	if r.Total.Count == 0 {
		return
	}
	const columns = headColumn + 10
	s.to(headColumn)
	s.put(faint, "%-10s%9s%9s%9s%9s", "ms", "mean", "p50", "p95", "p99")
	s.line()
	for _, row := range []struct {
		name string
		of   status.Latency
	}{{"queue", r.Queue}, {"compute", r.Compute}, {"total", r.Total}} {
		s.to(headColumn)
		s.put(plain, "%s", row.name)
		s.to(columns)
		s.put(plain, "%9s%9s%9s%9s", number(row.of.MeanMS), number(row.of.P50MS), number(row.of.P95MS), number(row.of.P99MS))
		s.line()
	}
}

// variants is the table of a model's variants, with the mix of what ran lately.
func (s *sheet) variants(m *status.Model) {
	width, recent := len("variant"), 0
	for _, v := range m.Variants {
		width = max(width, min(nameMax, utf8.RuneCountInString(v.Name)))
		recent += v.RecentItems
	}
	s.to(2)
	s.put(faint, "%-*s%10s%10s%11s   %s", width, "variant", "accuracy", "ms/item", "items", "recent")
	s.line()
	for _, v := range m.Variants {
		i := plain
		if v.RecentItems == 0 {
			i = faint
		}
		s.to(2)
		s.put(i, "%-*s", width, cut(v.Name))
		s.put(i, "%10.4f%10s%11s", v.Accuracy, number(v.ItemMS), count(v.Items))
		if v.RecentItems > 0 {
			s.put(plain, "%7s ", percent(v.RecentItems, recent))
			s.bar(accent, float64(v.RecentItems)/float64(recent), min(30, s.Width-s.column-16))
		}
		if v.Failures > 0 {
			s.put(bad, "  %s failed", counted(v.Failures, "batch"))
		}
		s.line()
	}
}

// cut shortens a name.
func cut(name string) string {
	if runes := []rune(name); len(runes) > nameMax {
		return string(runes[:nameMax-1]) + "…"
	}
	return name
}

// decisions are the latest batches, each with its reason, as many as there is
// room for.
func (s *sheet) decisions(decisions []status.Decision) {
	if len(decisions) == 0 {
		return
	}
	s.line()
	s.put(strong, "latest decisions")
	s.line()
	for n, d := range decisions {
		one := s.Paper.sheet()
		one.decision(d)
		lines := strings.Count(one.text.String(), "\n")
		if s.Height == 0 && n == decisionMax || s.Height > 0 && n > 0 && strings.Count(s.text.String(), "\n")+lines > s.Height {
			break
		}
		s.text.WriteString(one.text.String())
	}
}

func (s *sheet) decision(d status.Decision) {
	s.to(2)
	s.put(faint, "%d", d.Batch)
	s.to(headColumn)
	s.put(accent, "%s", d.Variant)
	s.put(plain, " ×%d", d.Items)
	s.put(faint, " %s  ", d.Model)
	s.took(d)
	s.line()
	if d.Why != "" {
		s.wrap(faint, headColumn+2, d.Why)
	}
}

// took is how long a batch took, beside what was predicted.
func (s *sheet) took(d status.Decision) {
	switch d.State {
	case "running":
		s.put(plain, "running, ")
	case "done":
		s.put(plain, "%s, ", duration(d.MeasuredMS))
	default:
		s.put(bad, "%s, ", d.State)
	}
	s.put(plain, "%s predicted", duration(d.PredictedMS))
}
