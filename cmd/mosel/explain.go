package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/status"
	"github.com/spf13/cobra"
)

func explainCommand() *cobra.Command {
	addr, json, clientID := defaultAddr, "", ""
	cmd := &cobra.Command{
		Use:   "explain [ID]",
		Short: "Show what was run for one request, and why",
		Long: `Show what one recent request asked for, its outcome, the batches that it ran in,
and for every variant why it ran or did not.

ID is the server's id of the request: the answer's parameter job, or the header
x-mosel-job. --client-id ID takes the id that the client gave the request instead;
if several requests have it, they are listed.

If the server has tokens, put a token with role admin into the environment variable
` + tokenVariable + `.`,
		Example: "  mosel explain j-ehhu6gkrahjnzawqyzyiuwfb4e\n  mosel explain --client-id my-request --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if given := cmd.Flags().Changed("client-id"); len(args) > 1 || (len(args) == 1 && args[0] != "") == given || given && clientID == "" {
				return usageError{fmt.Errorf("give one request: either the server's ID, or --client-id with the client's id\nSee '%s --help'", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(addr)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), askTimeout)
			defer cancel()
			answer, show, err := explained(ctx, c, args, clientID)
			if errors.Is(err, client.ErrNotFound) {
				return notRemembered(addr, err)
			}
			if err != nil {
				return reportError(addr, err)
			}
			return writeReport(json, cmd.OutOrStdout(), answer, func(out io.Writer) error {
				width, screen := terminal(out)
				_, err := io.WriteString(out, show(width, colored(screen)))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&addr, "addr", addr, "URL of the server")
	cmd.Flags().StringVar(&clientID, "client-id", "", "the `id` that the client gave the request, in place of the server's ID")
	addJSONFlag(cmd.Flags(), &json)
	return cmd
}

// notRemembered is the error for a request that the server does not know.
func notRemembered(addr string, err error) error {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return fmt.Errorf("the server at %s does not know this request: %s", addr, e.Message)
	}
	return err
}

// explained asks the server about the request. answer is an explanation, or a list
// if several requests have the client's id. show renders it as a page.
func explained(ctx context.Context, c *client.Client, args []string, clientID string) (answer any, show func(width int, color bool) string, err error) {
	var id string
	if clientID == "" {
		id = args[0]
	} else {
		list, err := c.Requests(ctx, clientID)
		if err != nil {
			return nil, nil, err
		}
		if len(list.Requests) != 1 {
			return list, func(width int, color bool) string { return requestsPage(list, width, color) }, nil
		}
		id = list.Requests[0].Job
	}
	e, err := c.Explain(ctx, id)
	return e, func(width int, color bool) string { return explanationPage(e, width, color) }, err
}

// requestsPage lists the requests that have the same client id.
func requestsPage(list status.Requests, width int, color bool) string {
	p := newPage(width, color)
	p.line("%s have the client id %s; run mosel explain with one of the server's ids:", counted(list.Total, "request"), cut(printable(list.ClientID), 40))
	p.line("")
	for _, r := range list.Requests {
		p.line("%s", p.styled(bold, printable(r.Job)))
		what := []string{strings.ReplaceAll(r.Outcome, "_", " "), counted(r.Items, "item") + " for " + r.Model + " " + r.Version}
		if r.Client != "" {
			what = append(what, "by "+cut(printable(r.Client), 40))
		}
		p.listed("  ", ", ", append(what, "at "+r.Arrived.Format("2006-01-02 15:04:05.000 MST"))...)
	}
	if left := list.Total - len(list.Requests); left > 0 {
		p.line("and %d older", left)
	}
	return p.b.String()
}

// explanationPage shows an explanation for people.
func explanationPage(e status.Explanation, width int, color bool) string {
	p := newPage(width, color)
	e.Request, e.Client = printable(e.Request), printable(e.Client)
	style := yellow
	switch e.Outcome {
	case "on_time":
		style = green
	case "failed", "shed", "infeasible":
		style = red
	}
	outcome := strings.ReplaceAll(e.Outcome, "_", " ")
	p.line("%s of %s %s · %s", p.styled(bold, "request "+printable(e.Job)), e.Model, e.Version, p.styled(style, outcome))
	p.wrapped(0, "", e.Summary)
	p.line("")
	p.asked(e)
	p.times(e)
	for _, c := range e.Cascades {
		p.cascade(c)
	}
	if e.Primaries != nil {
		var told []string
		for _, m := range e.Primaries {
			told = append(told, fmt.Sprintf("%s decided %s", m.Modality, counted(m.Items, "item")))
		}
		p.listed(p.heading("primary")+" ", ", ", told...)
	}
	if len(e.Batches) > 0 {
		p.line("")
		p.line("%s", p.styled(bold, "batches"))
	}
	for _, b := range e.Batches {
		p.batch(b, e.Items)
	}
	if e.BatchesLeftOut > 0 {
		p.line("  and %s more, which were not recorded", counted(e.BatchesLeftOut, "batch"))
	}
	if len(e.Alternatives) > 0 {
		p.line("")
		p.alternatives(e.Alternatives)
	}
	return p.b.String()
}

// asked shows what the client asked for.
func (p *page) asked(e status.Explanation) {
	what := []string{counted(e.Items, "item") + " with " + strings.Join(e.Modalities, ", ")}
	if len(e.Modalities) == 0 {
		what[0] = counted(e.Items, "item") + " without any modality"
	}
	if len(e.Choice) > 0 {
		what = append(what, "to run exactly "+strings.Join(e.Choice, ", "))
	}
	if e.Floor > 0 {
		floor := fmt.Sprintf("floor %v", e.Floor)
		if e.Confidence > 0 {
			floor += fmt.Sprintf(" at a confidence of %v", e.Confidence)
		}
		what = append(what, floor)
	} else {
		what = append(what, "no floor")
	}
	if e.DeadlineMS != nil {
		what = append(what, "deadline "+span(*e.DeadlineMS/1e3))
		if e.Late == "run" {
			what = append(what, "runs even if late")
		}
	} else {
		what = append(what, "no deadline")
	}
	p.listed(p.heading("asked")+" ", ", ", what...)
	var from []string
	if e.Client != "" {
		from = append(from, "by "+cut(e.Client, 40))
	}
	if e.Request != "" {
		from = append(from, "as "+cut(e.Request, 40))
	}
	from = append(from, "at "+e.Arrived.Format("2006-01-02 15:04:05.000 MST"))
	for i := range from {
		from[i] = p.styled(dim, from[i])
	}
	p.listed(p.heading("")+" ", ", ", from...)
}

// times shows how long the request took and what accuracy it got.
func (p *page) times(e status.Explanation) {
	var got []string
	if e.Accuracy != nil {
		got = append(got, fmt.Sprintf("%.4f expected accuracy", *e.Accuracy))
	}
	if e.StartedMS != nil {
		got = append(got, span(*e.StartedMS/1e3)+" until its first batch", span(e.ComputeMS/1e3)+" in batches")
	}
	if e.EndedMS != nil {
		got = append(got, span(*e.EndedMS/1e3)+" in all")
	}
	if e.Best != nil {
		got = append(got, fmt.Sprintf("the highest accuracy possible was %v", *e.Best))
	}
	if e.RetryAfterMS != nil {
		got = append(got, "retry after "+span(*e.RetryAfterMS/1e3))
	}
	if len(got) > 0 {
		p.listed(p.heading("got")+" ", ", ", got...)
	}
}

// batch shows one batch and the alternatives that the policy had.
func (p *page) batch(b status.JobBatch, items int) {
	took := fmt.Sprintf("%s ms (%s predicted)", millis(b.MeasuredMS), millis(b.PredictedMS))
	if b.State == "running" || b.State == "lost" || b.State == "unknown" {
		took = millis(b.PredictedMS) + " ms predicted"
	}
	shared := ""
	if others := b.Items - b.JobItems; others > 0 {
		shared = fmt.Sprintf(" with %s of other jobs", grouped(others))
	}
	p.listed("  "+pad("at "+span(b.StartedMS/1e3), 15), ", ", fmt.Sprintf("%d of %s on ", b.JobItems, counted(items, "item"))+
		p.styled(cyan, b.Variant)+shared, took, b.State)
	p.wrapped(17, dim, b.Why)
	if len(b.Options) < 2 {
		return
	}
	name := len("alternatives")
	for _, o := range b.Options {
		name = max(name, utf8.RuneCountInString(o.Variant))
	}
	name = min(name, p.width-58)
	p.line("%17s%s", "", p.styled(dim, pad("alternatives", name)+fmt.Sprintf("%7s%10s%9s%15s", "items", "accuracy", "ms", "would be late")))
	for _, o := range b.Options {
		line := fmt.Sprintf("%s%7d%10.4f%9s%15.2f", pad(o.Variant, name), o.Items, o.Accuracy, millis(o.PredictedMS), o.LateItems)
		mark := "  "
		if o.Chosen {
			mark, line = "→ ", p.styled(bold, line)
		}
		p.line("%15s%s%s", "", mark, line)
	}
}

// judgedShown is how many items of a cascade a page shows.
const judgedShown = 12

// cascade shows which items stopped on a cascade and which went on.
func (p *page) cascade(c status.Cascade) {
	if c.Ways != nil {
		p.gate(c)
		return
	}
	p.listed(p.heading("cascade")+" ", ", ", p.styled(cyan, c.Name), fmt.Sprintf("%d of %s went on", c.WentOn, counted(c.Items, "item")),
		fmt.Sprintf("%.1f %% do in the profile", 100*c.ProfiledShare))
	var told []string
	for _, j := range c.Judged[:min(len(c.Judged), judgedShown)] {
		if j.WentOn {
			told = append(told, fmt.Sprintf("item %d went on: confidence %.4g, below %.4g", j.Item, j.Confidence, c.Threshold))
		} else {
			told = append(told, fmt.Sprintf("item %d stopped: confidence %.4g, not below %.4g", j.Item, j.Confidence, c.Threshold))
		}
	}
	if left := c.Items - len(told); left > 0 && told != nil {
		told = append(told, counted(left, "more item"))
	}
	for _, line := range told {
		p.wrapped(17, dim, line)
	}
}

// gate shows which variants a gate chose.
func (p *page) gate(c status.Cascade) {
	ways := make([]string, 0, len(c.Ways)+1)
	for _, w := range c.Ways {
		ways = append(ways, fmt.Sprintf("%s %d of %s (%.1f %% in the profile)", w.Variant, w.Items, counted(c.Items, "item"), 100*w.ProfiledShare))
	}
	p.listed(p.heading("gate")+" ", ", ", append([]string{p.styled(cyan, c.Name)}, ways...)...)
	var told []string
	for _, j := range c.Judged[:min(len(c.Judged), judgedShown)] {
		to := j.To
		if !j.WentOn {
			to = c.Ways[0].Variant
		}
		told = append(told, fmt.Sprintf("item %d: %s, expected to score %.4g", j.Item, to, j.Confidence))
	}
	if left := c.Items - len(told); left > 0 && told != nil {
		told = append(told, counted(left, "more item"))
	}
	for _, line := range told {
		p.wrapped(17, dim, line)
	}
}

// alternatives shows for every variant why it ran or did not.
func (p *page) alternatives(list []status.Alternative) {
	name := len("variant")
	for _, a := range list {
		name = max(name, utf8.RuneCountInString(a.Variant))
	}
	name = min(name, p.width/3)
	p.line("%s", p.styled(dim, "  "+pad("variant", name)+fmt.Sprintf("%10s%9s  ", "accuracy", "ms now")+"why"))
	for _, a := range list {
		mark, style := "  ", ""
		switch {
		case a.Items > 0:
			mark, style = "→ ", bold
		case !a.Runnable:
			style = dim
		}
		before := name + 23
		first := true
		why := newPage(p.width, false)
		why.wrapped(before, "", a.Why)
		for line := range strings.Lines(why.b.String()) {
			line = strings.TrimSpace(line)
			if first {
				line = fmt.Sprintf("%s%10.4f%9s  %s", pad(a.Variant, name), a.Accuracy, millis(a.PredictedMS), line)
				p.line("%s%s", mark, p.styled(style, line))
				first = false
				continue
			}
			p.line("%*s%s", before, "", p.styled(style, line))
		}
	}
}
