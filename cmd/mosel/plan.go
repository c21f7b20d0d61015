package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/plot"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
	"github.com/spf13/cobra"
)

// planFlags are the flags of `mosel plan`.
type planFlags struct {
	size        int
	minAccuracy accuracyFlag
	confidence  confidenceFlag
	deadline    time.Duration
	modalities  []string
	sizes       []string
	device      string
	matrix      bool
	json        string
	plot        string
}

// planSizeMax bounds --size: the largest job that the scheduler takes.
const planSizeMax = 1_000_000

func planCommand() *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "plan MODEL",
		Short: "Show the cheapest strategy for a job, or for many job sizes and floors",
		Long: `Show how many items of a job each variant should run: the cheapest strategy whose
expected mean accuracy is at least the floor. The search is exact. It needs no
server; it uses the model's profile. MODEL is a package directory, the name of one
in ./models, or digits, the built-in example.`,
		Example: "  mosel plan digits --size 32 --min-accuracy 0.97\n  mosel plan digits --matrix --plot matrix.svg",
		Args:    oneModel,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := loadPlanning(args[0], f)
			if err != nil {
				return err
			}
			if f.matrix {
				return p.matrix(cmd.OutOrStdout(), f)
			}
			return p.strategy(cmd.OutOrStdout(), f)
		},
	}
	fl := cmd.Flags()
	fl.IntVar(&f.size, "size", 32, "number of items of the job (with --matrix: the largest size)")
	fl.Var(&f.minAccuracy, "min-accuracy", "the floor: lowest expected mean accuracy to accept, 0 to 1, such as 0.97")
	fl.Var(&f.confidence, "confidence", "plan with lower bounds of the accuracy at this confidence, such as 0.95 (default: with the expected accuracy)")
	fl.DurationVar(&f.deadline, "deadline", 0, "time that the job may take, such as 200ms (default: no limit)")
	fl.StringSliceVar(&f.modalities, "modalities", nil, "modalities that the items carry, comma separated (default: all)")
	fl.StringSliceVar(&f.sizes, "sizes", nil, "buckets of the items' inputs, such as text=64 (default: the largest)")
	fl.StringVar(&f.device, "device", "", "name of the profile to use (default: this machine's, or the only one)")
	fl.BoolVar(&f.matrix, "matrix", false, "show the strategies for all sizes up to --size and 42 floors")
	addJSONFlag(fl, &f.json)
	fl.StringVar(&f.plot, "plot", "", "draw accuracy against time into this .svg or .png file")
	return cmd
}

// planning is a model with the planner for its profile.
type planning struct {
	model      *modelpkg.Model
	profile    *modelpkg.Profile
	planner    *plan.Planner
	allowed    plan.Set
	confidence slo.Confidence // of the planner's accuracies; 0: they are expected ones
}

func loadPlanning(arg string, f planFlags) (planning, error) {
	if f.size < 1 || f.size > planSizeMax {
		return planning{}, usageError{fmt.Errorf("--size %d is not between 1 and %d", f.size, planSizeMax)}
	}
	dir, err := modelDir(arg)
	if err != nil {
		return planning{}, err
	}
	m, err := modelpkg.LoadIn(filepath.Dir(dir), dir) // links may lead to other packages beside it
	if err != nil {
		return planning{}, err
	}
	profile, err := modelpkg.FindProfile(m, f.device)
	if err != nil {
		return planning{}, err
	}
	planner, err := plan.FromProfile(m, profile)
	if err != nil {
		return planning{}, err
	}
	present, err := m.ModalitySet(f.modalities)
	if err != nil {
		return planning{}, usageError{err}
	}
	sizes, err := m.ParseSizes(f.sizes)
	if err != nil {
		return planning{}, usageError{err}
	}
	planner = planner.At(f.confidence.Confidence)
	p := planning{model: m, profile: profile, planner: planner, confidence: f.confidence.Confidence, allowed: planner.Runnable(slo.Carried{Present: present, Sizes: sizes})}
	if p.allowed == 0 {
		return planning{}, slo.E("plan "+m.Name, slo.KindInvalid, "no variant runs on only %s", strings.Join(f.modalities, ", "))
	}
	return p, nil
}

// planReport is the JSON of `mosel plan`, documented in docs/plan.md.
type planReport struct {
	Model            string         `json:"model"`
	Device           string         `json:"device"`
	Size             int            `json:"size"`
	Floor            float64        `json:"floor"`
	Confidence       float64        `json:"confidence,omitempty"` // accuracies are lower bounds that hold at it
	DeadlineMS       *float64       `json:"deadline_ms,omitempty"`
	Strategy         map[string]int `json:"strategy"`
	PredictedMS      float64        `json:"predicted_ms"`
	ExpectedAccuracy float64        `json:"expected_accuracy"`
	AllMS            float64        `json:"all_ms"`
	AllAccuracy      float64        `json:"all_accuracy"`
	Exact            bool           `json:"exact"`
}

func (p planning) strategy(w io.Writer, f planFlags) error {
	op := "plan " + p.model.Name
	floor := f.minAccuracy.Accuracy
	s, ok := p.planner.Cheapest(f.size, floor.Times(f.size), p.allowed)
	if !ok {
		best := p.planner.MaxAccuracy(p.allowed)
		return &slo.Error{Op: op, Kind: slo.KindInfeasible, Best: best,
			Err: fmt.Errorf("no strategy reaches the floor %v: the most accurate variant has %v%s", floor, best, p.profile.Shortfall(floor, p.confidence, p.profile.VariantBounds(p.model)))}
	}
	if f.deadline > 0 && s.Time > f.deadline {
		return p.tooLate(s, f)
	}
	all := p.planner.Agnostic(p.allowed)
	r := planReport{Model: p.model.Name, Device: p.profile.Device, Size: f.size, Floor: floor.Float(), Confidence: p.confidence.Float(), Strategy: p.named(s),
		PredictedMS: stats.Milliseconds(s.Time), ExpectedAccuracy: s.Accuracy().Float(), AllMS: stats.Milliseconds(p.planner.AllTime(f.size, p.allowed)),
		AllAccuracy: p.planner.Variants()[all].Accuracy.Float(), Exact: s.Exact}
	if f.deadline > 0 {
		d := stats.Milliseconds(f.deadline)
		r.DeadlineMS = &d
	}
	if f.plot != "" {
		if err := p.tradeoff(s, f.size).Save(f.plot); err != nil {
			return err
		}
	}
	return writeReport(f.json, w, r, func(w io.Writer) error {
		p.printStrategy(w, s, r)
		return nil
	})
}

// tooLate returns an error that names the highest accuracy possible within the
// deadline.
func (p planning) tooLate(s plan.Strategy, f planFlags) error {
	err := slo.E("plan "+p.model.Name, slo.KindInfeasible, "the cheapest strategy for this floor takes %.1f ms, longer than the deadline of %v", stats.Milliseconds(s.Time), f.deadline)
	if best, ok := p.planner.Best(f.size, f.deadline, p.allowed); ok {
		err.Best = best.Accuracy()
		err.Err = fmt.Errorf("%w; the highest accuracy within that time is %v", err.Err, err.Best)
	}
	return err
}

func (p planning) named(s plan.Strategy) map[string]int {
	named := map[string]int{}
	for v, x := range s.Items {
		if x > 0 {
			named[p.planner.Routes()[v].Name] = x
		}
	}
	return named
}

func (p planning) printStrategy(w io.Writer, s plan.Strategy, r planReport) {
	fmt.Fprintf(w, "%s: %d items, floor %v", r.Model, r.Size, r.Floor)
	if r.Confidence > 0 {
		fmt.Fprintf(w, "; accuracies are lower bounds that hold at a confidence of %v", r.Confidence)
	}
	fmt.Fprint(w, "\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "variant\titems\t%s\tms\t\n", p.model.Scoring.Title())
	for v, x := range s.Items {
		if x > 0 {
			variant := p.planner.Routes()[v]
			fmt.Fprintf(t, "%s\t%d\t%.4f\t%.1f\t\n", variant.Name, x, variant.Accuracy.Float(), stats.Milliseconds(variant.Curve.Time(x)))
		}
	}
	fmt.Fprintf(t, "strategy\t%d\t%.4f\t%.1f\t\n", r.Size, r.ExpectedAccuracy, r.PredictedMS)
	fmt.Fprintf(t, "all modalities\t%d\t%.4f\t%.1f\t\n", r.Size, r.AllAccuracy, r.AllMS)
	_ = t.Flush() // its error is the writer's, which the terminal shows
	fmt.Fprintf(w, "\n%.1f times cheaper than all modalities.\n", r.AllMS/r.PredictedMS)
	if !r.Exact {
		fmt.Fprintln(w, "The search was cut short: a cheaper strategy may exist.")
	}
}

// matrixReport is the JSON of `mosel plan --matrix`, documented in docs/plan.md.
type matrixReport struct {
	Model   string       `json:"model"`
	Device  string       `json:"device"`
	Targets []float64    `json:"targets"`
	Cells   []matrixCell `json:"cells"`
}

type matrixCell struct {
	Size             int            `json:"size"`
	Floor            float64        `json:"floor"`
	Strategy         map[string]int `json:"strategy"`
	PredictedMS      float64        `json:"predicted_ms"`
	ExpectedAccuracy float64        `json:"expected_accuracy"`
}

func (p planning) matrix(w io.Writer, f planFlags) error {
	const sizeMax = 256 // 42 exact plans for each size: a second or two
	if f.size > sizeMax {
		return usageError{fmt.Errorf("--matrix goes up to --size %d", sizeMax)}
	}
	m := p.planner.Matrix(f.size, p.allowed)
	if f.plot != "" {
		if err := p.matrixLines(m).Save(f.plot); err != nil {
			return err
		}
	}
	r := matrixReport{Model: p.model.Name, Device: p.profile.Device}
	for _, target := range m.Targets {
		r.Targets = append(r.Targets, target.Float())
	}
	for i, row := range m.Cells {
		for j, cell := range row {
			r.Cells = append(r.Cells, matrixCell{Size: m.Sizes[i], Floor: m.Targets[j].Float(), Strategy: p.named(cell.Strategy),
				PredictedMS: stats.Milliseconds(cell.Strategy.Time), ExpectedAccuracy: cell.Strategy.Accuracy().Float()})
		}
	}
	return writeReport(f.json, w, r, func(w io.Writer) error {
		p.printMatrix(w, m)
		return nil
	})
}

// printMatrix prints milliseconds by size and floor, for as many floors as fit a
// terminal.
func (p planning) printMatrix(w io.Writer, m plan.Matrix) {
	const columns = 8
	fmt.Fprintf(w, "%s: least ms for a job, by size and floor (--json has all 42 floors)\n", p.model.Name)
	if p.confidence > 0 {
		fmt.Fprintf(w, "floors hold at a confidence of %v\n", p.confidence.Float())
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "items\t")
	for c := range columns {
		fmt.Fprintf(t, "%.4f\t", m.Targets[c*(len(m.Targets)-1)/(columns-1)].Float())
	}
	fmt.Fprintln(t, "all\t")
	for i, row := range m.Cells {
		fmt.Fprintf(t, "%d\t", m.Sizes[i])
		for c := range columns {
			fmt.Fprintf(t, "%.1f\t", stats.Milliseconds(row[c*(len(row)-1)/(columns-1)].Strategy.Time))
		}
		fmt.Fprintf(t, "%.1f\t\n", stats.Milliseconds(p.planner.AllTime(m.Sizes[i], p.allowed)))
	}
	_ = t.Flush() // its error is the writer's, which the terminal shows
}

// tradeoff draws accuracy against time per item for a job of this size: the
// variants, the cascades and the strategy.
func (p planning) tradeoff(s plan.Strategy, size int) plot.Tradeoff {
	t := plot.Tradeoff{Axes: plot.Axes{Title: fmt.Sprintf("%s: a job of %d items", p.model.Name, size), X: "ms per item", Y: p.model.Scoring.Title()}}
	if p.confidence > 0 {
		t.Bounds = fmt.Sprintf("at least, at a confidence of %v", p.confidence.Float())
	}
	frontier := map[int]bool{}
	for _, f := range p.planner.Frontier(p.allowed) {
		frontier[f.Route] = true
	}
	accuracies := p.measured()
	for i, v := range p.planner.Routes() {
		acc, known := accuracies[i]
		if !p.allowed.Has(i) || !known {
			continue
		}
		bound := 0.0
		if p.confidence > 0 {
			bound = v.Accuracy.Float()
		}
		t.Points = append(t.Points, plot.Point{Name: v.Name, X: stats.Milliseconds(v.Curve.Time(size)) / float64(size), Y: acc.Mean,
			Low: acc.Low, High: acc.High, Bound: bound, Frontier: frontier[i]})
	}
	chosen := plot.Series{Name: "strategy", X: []float64{stats.Milliseconds(s.Time) / float64(size)}, Y: []float64{s.Accuracy().Float()}}
	t.Overlay = append(t.Overlay, chosen)
	return t
}

// measured returns the measured accuracies of the planner's routes.
func (p planning) measured() map[int]modelpkg.AccuracyMean {
	accuracies := map[int]modelpkg.AccuracyMean{}
	for i, v := range p.profile.Variants {
		accuracies[i] = v.Accuracy
	}
	cascades := plan.CascadesOf(p.model, p.profile)
	for i, at := 0, len(p.planner.Variants()); i < len(cascades); i++ {
		accuracies[at+i] = cascades[i].Point.Accuracy
	}
	for i, g := range plan.GatesOf(p.model, p.profile) {
		accuracies[len(p.planner.Variants())+len(cascades)+i] = g.Point.Accuracy
	}
	return accuracies
}

// matrixLines draws time per item against the floor, for some job sizes.
func (p planning) matrixLines(m plan.Matrix) plot.Lines {
	l := plot.Lines{Axes: plot.Axes{Title: p.model.Name + ": what a floor costs", X: "floor", Y: "ms per item"}}
	for i, size := range m.Sizes {
		if size&(size-1) != 0 && i != len(m.Sizes)-1 {
			continue // the powers of two and the largest
		}
		s := plot.Series{Name: fmt.Sprintf("%d items", size)}
		for j, cell := range m.Cells[i] {
			s.X = append(s.X, m.Targets[j].Float())
			s.Y = append(s.Y, stats.Milliseconds(cell.Strategy.Time)/float64(size))
		}
		l.Series = append(l.Series, s)
	}
	return l
}
