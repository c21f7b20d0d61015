package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/plot"
	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/spf13/cobra"
)

// shiftFlags are the flags of `mosel replay` for data that changes, and for what is shown
// over time.
type shiftFlags struct {
	shifts []string
	at     time.Duration
	until  time.Duration
	window time.Duration
	plot   string
}

// windowsShown is how many windows a run has if nobody gives their width.
const windowsShown = 30

func (f *shiftFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.shifts, "shift", nil, "change the data that is sent, such as invert:image or gain:audio:0.1; may be repeated")
	flags.DurationVar(&f.at, "at", 0, "when the shifts begin, from the start of the load")
	flags.DurationVar(&f.until, "until", 0, "when the shifts end (default: at the end of the load)")
	flags.DurationVar(&f.window, "window", 0, "report expected and measured accuracy over time, in windows of this length (default with --shift or --plot: a thirtieth of the load, at least 1s)")
	flags.StringVar(&f.plot, "plot", "", "draw expected and measured accuracy over time into this .svg or .png `file`")
}

// shifted prepares the shifts; nil: there are none.
func (f shiftFlags) shifted(samples *replay.Samples, w replay.Workload) (*replay.Shifted, error) {
	if f.window < 0 {
		return nil, fmt.Errorf("--window %v is negative", f.window)
	}
	if f.plot != "" {
		if err := plot.CheckFile(f.plot); err != nil {
			return nil, err
		}
	}
	if len(f.shifts) == 0 {
		if f.at != 0 || f.until != 0 {
			return nil, errors.New("--at and --until are for --shift, which says what changes; the shifts are " + replay.ShiftForms())
		}
		return nil, nil
	}
	if f.at >= w.Duration {
		return nil, fmt.Errorf("--at %v: the load ends after %v", f.at, w.Duration)
	}
	shifts := make([]replay.Shift, len(f.shifts))
	for i, text := range f.shifts {
		var err error
		if shifts[i], err = replay.ParseShift(text); err != nil {
			return nil, fmt.Errorf("--shift: %w", err)
		}
	}
	shifted, err := samples.Shift(shifts, f.at, f.until, w.Seed)
	if err != nil {
		return nil, fmt.Errorf("--shift: %w", err)
	}
	return shifted, nil
}

// windows returns the width of the windows over time; 0: none are wanted.
func (f shiftFlags) windows(jobs []replay.Job) time.Duration {
	switch {
	case f.window > 0:
		return f.window
	case len(f.shifts) == 0 && f.plot == "" || len(jobs) == 0:
		return 0
	}
	length := jobs[len(jobs)-1].At
	return max(time.Second, (length / windowsShown).Round(time.Second))
}
