package board

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/status"
)

// batchesMax is how many batches of a request are told one by one; a request of
// thousands of items has hundreds.
const batchesMax = 8

// Explanation is the story of one request: what was asked, what happened and
// when, what ran and why, and what else could have.
func (p Paper) Explanation(x status.Explanation) string {
	s := p.sheet()
	s.title(&x)
	s.asked(&x)
	s.happened(&x)
	s.timeline(&x)
	s.batches(&x)
	s.alternatives(&x)
	return s.page()
}

// Inks of outcomes.
var outcomeInk = map[string]ink{"on_time": good, "late": doubt, "running": accent, "queued": accent, "cancelled": faint}

func (s *sheet) title(x *status.Explanation) {
	s.put(strong, "request %d", x.Job)
	if x.Request != "" {
		s.put(plain, ", called %q", x.Request)
	}
	if x.Client != "" {
		s.put(plain, " by %s", x.Client)
	}
	s.put(plain, ", for ")
	s.put(strong, "%s", x.Model)
	s.put(plain, " version %s: ", x.Version)
	i, known := outcomeInk[x.Outcome]
	if !known {
		i = bad
	}
	s.put(i, "%s", strings.ReplaceAll(x.Outcome, "_", " "))
	s.line()
}

func (s *sheet) asked(x *status.Explanation) {
	s.head("asked")
	text := fmt.Sprintf("%s with %s", counted(x.Items, "item"), list(x.Modalities))
	if len(x.Choice) > 0 {
		text += fmt.Sprintf(", %s alone to be run", list(x.Choice))
	}
	if x.Floor > 0 {
		text += fmt.Sprintf("; an accuracy of %s at least", strings.TrimRight(fmt.Sprintf("%.4f", x.Floor), "0"))
	} else {
		text += "; no floor"
	}
	switch {
	case x.DeadlineMS == nil:
		text += "; no deadline"
	case x.Late == "run":
		text += fmt.Sprintf("; within %s, or later if it must be", duration(*x.DeadlineMS))
	default:
		text += fmt.Sprintf("; within %s, or not at all", duration(*x.DeadlineMS))
	}
	s.wrap(plain, headColumn, text)
}

func (s *sheet) happened(x *status.Explanation) {
	s.head("got")
	text := x.Summary
	if x.Accuracy != nil {
		text = fmt.Sprintf("an expected accuracy of %.4f; %s", *x.Accuracy, text)
	}
	if x.Best != nil {
		text += fmt.Sprintf("; %.4f would have been the best", *x.Best)
	}
	if x.RetryAfterMS != nil {
		text += fmt.Sprintf("; worth a retry after %s", duration(*x.RetryAfterMS))
	}
	s.wrap(plain, headColumn, text)
}

// timeline draws the time from the arrival to the deadline or, if that was later,
// to the end: waiting, running, to spare.
func (s *sheet) timeline(x *status.Explanation) {
	if x.EndedMS == nil || *x.EndedMS <= 0 {
		return
	}
	ended, started := *x.EndedMS, *x.EndedMS
	if x.StartedMS != nil {
		started = *x.StartedMS
	}
	whole := ended
	if x.DeadlineMS != nil {
		whole = max(whole, *x.DeadlineMS)
	}
	width := min(50, s.Width-headColumn)
	at := func(ms float64) int { return int(ms/whole*float64(width) + 0.5) }
	queued, ran := at(started), max(at(ended), 1)
	s.head("time")
	for n := range width {
		i, mark := faint, "·"
		switch {
		case n < queued:
			i, mark = doubt, "░"
		case n < ran && x.StartedMS != nil:
			i, mark = good, "█"
		}
		if x.DeadlineMS != nil && n >= at(*x.DeadlineMS) && n < ran {
			i = bad
		}
		s.put(i, "%s", mark)
	}
	s.line()
	s.to(headColumn)
	s.put(doubt, "░")
	s.put(plain, " queue %s", duration(started))
	if x.StartedMS != nil {
		s.put(good, "  █")
		s.put(plain, " running %s", duration(ended-started))
	}
	if x.SlackMS != nil && *x.SlackMS > 0 {
		s.put(faint, "  ·")
		s.put(plain, " to spare %s", duration(*x.SlackMS))
	}
	if x.SlackMS != nil && *x.SlackMS < 0 {
		s.put(bad, "  █")
		s.put(plain, " too late by %s", duration(-*x.SlackMS))
	}
	s.line()
}

func (s *sheet) batches(x *status.Explanation) {
	for n := range x.Batches {
		if n == batchesMax {
			s.to(headColumn)
			s.put(faint, "and %s more", counted(len(x.Batches)-batchesMax+x.BatchesLeftOut, "batch"))
			s.line()
			return
		}
		b := &x.Batches[n]
		if n == 0 {
			s.head("ran in")
		}
		s.to(headColumn)
		s.put(faint, "batch %d ", b.Batch)
		s.put(accent, "%s", b.Variant)
		if x.Items > 1 || b.Items > 1 {
			s.put(plain, ", %d of its %s", b.JobItems, counted(b.Items, "item"))
		}
		s.put(plain, ", after %s: ", duration(b.StartedMS))
		s.took(b.Decision)
		s.line()
		if b.Why != "" {
			s.wrap(faint, headColumn+2, b.Why)
		}
	}
	if len(x.Batches) == 0 && x.BatchesLeftOut > 0 {
		s.head("ran in")
		s.put(faint, "%s that are forgotten", counted(x.BatchesLeftOut, "batch"))
		s.line()
	}
}

// alternatives is the table of all variants.
func (s *sheet) alternatives(x *status.Explanation) {
	if len(x.Alternatives) == 0 {
		return
	}
	width := len("variant")
	for _, a := range x.Alternatives {
		width = max(width, min(nameMax, utf8.RuneCountInString(a.Variant)))
	}
	s.line()
	s.put(faint, "  %-*s%10s%14s  why, or why not", width, "variant", "accuracy", "predicted")
	s.line()
	for _, a := range x.Alternatives {
		mark, i := "·", faint
		switch {
		case a.Items > 0:
			mark, i = "●", good
		case a.Runnable && a.MeetsFloor:
			mark, i = "○", plain
		}
		s.put(i, "%s %-*s%10.4f%14s  ", mark, width, cut(a.Variant), a.Accuracy, duration(a.PredictedMS))
		s.wrap(i, s.column, a.Why)
	}
	s.put(faint, "● ran  ○ could have, reaching the floor  · could not, or below it")
	s.line()
}
