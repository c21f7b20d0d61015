package replay

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Shifted is a set of samples of which some shifts hold for a part of a run. The same
// seed changes the same items in the same way. The nil Shifted changes nothing.
type Shifted struct {
	From  time.Duration // of the run: jobs that are meant to be sent from then on are shifted
	Until time.Duration // to here; 0: to the end

	set    *Samples
	seed   uint64
	texts  []string
	items  [][][]byte // by sample, as Set.Item: what is sent in its place
	empty  []emptied
	labels []mix
}

// emptied is an input that is blank in a share of the items.
type emptied struct {
	input  int
	share  float64
	stream uint64
}

// mix are the samples of which a share of the items is drawn.
type mix struct {
	samples []int32
	share   float64
	stream  uint64
}

// The random streams of a Shifted: below those of shift k are those of a workload.
const (
	shiftStream = 1 << 32 // of shift 0
	shiftStep   = 1 << 33 // from one shift to the next; an item has a stream of its own
)

// Shift prepares shifts of the samples for jobs from one instant of a run until another,
// 0: its end. The errors name the shift.
func (s *Samples) Shift(shifts []Shift, from, until time.Duration, seed uint64) (*Shifted, error) {
	switch {
	case from < 0:
		return nil, fmt.Errorf("a shift cannot begin at %v, before the load", from)
	case until != 0 && until <= from:
		return nil, fmt.Errorf("the shift ends at %v, but begins at %v", until, from)
	}
	out := &Shifted{From: from, Until: until, set: s, seed: seed, items: make([][][]byte, s.Len())}
	for i := range out.items {
		out.items[i] = slices.Clone(s.Set.Item(i))
	}
	for k, shift := range shifts {
		if err := out.add(shift, shiftStream+uint64(k)*shiftStep); err != nil {
			return nil, fmt.Errorf("%v: %w", shift, err)
		}
		out.texts = append(out.texts, shift.String())
	}
	return out, nil
}

// String lists the shifts.
func (s *Shifted) String() string { return strings.Join(s.texts, " ") }

// During reports whether the shifts hold for a job that is meant to be sent then.
func (s *Shifted) During(at time.Duration) bool {
	return s != nil && at >= s.From && (s.Until == 0 || at < s.Until)
}

// add adds a shift to those before it.
func (s *Shifted) add(shift Shift, stream uint64) error {
	if shift.Kind == ShiftLabels {
		samples, err := s.set.ofClasses(shift.Classes)
		if err != nil {
			return err
		}
		s.labels = append(s.labels, mix{samples: samples, share: shift.Amount, stream: stream})
		return nil
	}
	at, err := shift.input(s.set.Model)
	if err != nil {
		return err
	}
	in := s.set.Model.Inputs[at]
	rng := rand.New(rand.NewPCG(s.seed, stream))
	scale := scaleOf(in)
	switch shift.Kind {
	case ShiftInvert:
		s.change(at, func(v float64) float64 { return scale.mirror - v })
	case ShiftGain:
		s.change(at, func(v float64) float64 { return shift.Amount * v })
	case ShiftNoise:
		s.change(at, func(v float64) float64 { return v + shift.Amount*scale.full()*rng.NormFloat64() })
	case ShiftSwap:
		s.swap(in.Modality, rng)
	case ShiftEmpty:
		s.empty = append(s.empty, emptied{input: at, share: shift.Amount, stream: stream})
	case ShiftLabels: // see above
	}
	return nil
}

// change changes the numbers of an input of all samples.
func (s *Shifted) change(input int, by func(float64) float64) {
	for _, item := range s.items {
		item[input] = change(s.set.Model.Inputs[input], item[input], by)
	}
}

// swap gives each sample the inputs of a modality of another sample, in a random circle.
// Samples of other sizes are not exchanged, because a bucket's size is the sample's own.
func (s *Shifted) swap(modality int, rng *rand.Rand) {
	inputs := s.set.Model.Modalities[modality].Inputs
	circles := map[string][]int{} // by the sizes of the inputs
	for i, item := range s.items {
		var key []int
		for _, k := range inputs {
			key = append(key, len(item[k]))
		}
		circles[fmt.Sprint(key)] = append(circles[fmt.Sprint(key)], i)
	}
	before := make([][][]byte, len(s.items))
	for i, item := range s.items {
		before[i] = slices.Clone(item)
	}
	for _, key := range slices.Sorted(maps.Keys(circles)) { // the same seed draws the same circles
		circle := circles[key]
		rng.Shuffle(len(circle), func(i, j int) { circle[i], circle[j] = circle[j], circle[i] })
		for i, sample := range circle {
			for _, k := range inputs {
				if !s.set.Model.Inputs[k].Unbatched {
					s.items[sample][k] = before[circle[(i+1)%len(circle)]][k]
				}
			}
		}
	}
}

// ofClasses returns the samples of some classes, given by name or number.
func (s *Samples) ofClasses(names []string) ([]int32, error) {
	m, labels := s.Model, s.Set.Labels
	if _, padded := m.Scoring.Padding(); !m.Scoring.Named() || m.Scoring.Gallery() || padded || labels.Width != 1 {
		return nil, fmt.Errorf("the samples of %s have no classes: its metric is %s", m.Name, m.Scoring.Name())
	}
	wanted := map[int]bool{}
	for _, name := range names {
		class := slices.Index(m.Labels, name)
		if class < 0 {
			var err error
			if class, err = strconv.Atoi(name); err != nil || class < 0 {
				return nil, fmt.Errorf("there is no class %q; %s", name, s.classNames())
			}
		}
		wanted[class] = true
	}
	seen := map[int]bool{}
	var of []int32
	for i := range labels.Len() {
		if class := labels.Class(i); wanted[class] {
			seen[class] = true
			of = append(of, int32(i))
		}
	}
	if len(seen) < len(wanted) {
		return nil, fmt.Errorf("the held-out set has no sample of %d of these classes; %s", len(wanted)-len(seen), s.classNames())
	}
	return of, nil
}

// classNames says which classes there are.
func (s *Samples) classNames() string {
	if len(s.Model.Labels) > 0 {
		return "the classes are " + strings.Join(s.Model.Labels, ", ")
	}
	last := 0
	for i := range s.Set.Labels.Len() {
		last = max(last, s.Set.Labels.Class(i))
	}
	return fmt.Sprintf("the classes are the numbers 0 to %d", last)
}

// Draw draws the samples of shifted jobs again, where labels shift, in shuffled passes over
// the samples of the classes. Where several such shifts choose an item, the last one holds.
// The samples of a job of several items keep their sizes, as Workload.Jobs chose them.
func (s *Shifted) Draw(jobs []Job) {
	if s == nil {
		return
	}
	for _, m := range s.labels {
		rng := rand.New(rand.NewPCG(s.seed, m.stream))
		all, of := &passes{rng: rng, order: slices.Clone(m.samples)}, map[slo.Sizes]*passes{}
		for _, sample := range m.samples {
			size := s.set.Set.Sizes(int(sample))
			if of[size] == nil {
				of[size] = &passes{rng: rng}
			}
			of[size].order = append(of[size].order, sample)
		}
		for j := range jobs {
			if !s.During(jobs[j].At) {
				continue
			}
			for i, sample := range jobs[j].Samples {
				pass := all
				if len(jobs[j].Samples) > 1 {
					pass = of[s.set.Set.Sizes(int(sample))]
				}
				if rng.Float64() < m.share && pass != nil {
					jobs[j].Samples[i] = pass.take(1)[0]
				}
			}
		}
	}
}

// inputs returns the inputs of a job's request.
func (s *Shifted) inputs(set *Samples, job Job) []tensor.Tensor {
	if !s.During(job.At) {
		return set.Inputs(job.Samples)
	}
	items := make([][][]byte, len(job.Samples))
	for i, sample := range job.Samples {
		items[i] = s.items[sample]
		for _, e := range s.empty {
			rng := rand.New(rand.NewPCG(s.seed, e.stream+uint64(job.First+i)))
			if rng.Float64() < e.share {
				items[i] = blank(set.Model, items[i], e.input)
			}
		}
	}
	return set.inputs(job.Samples, items)
}

// blank returns an item with an empty input: zeros, which are silence for a sound, or an
// empty text.
func blank(m *modelpkg.Model, item [][]byte, input int) [][]byte {
	in, out := m.Inputs[input], slices.Clone(item)
	out[input] = make([]byte, len(item[input]))
	switch {
	case in.DType == tensor.Bytes:
		elements := 0
		for data := item[input]; len(data) >= 4; elements++ {
			data = data[4+binary.LittleEndian.Uint32(data):]
		}
		out[input] = make([]byte, 4*elements) // the lengths of empty elements
	case in.Tokens != nil:
		blankTokens(in, out, input)
	}
	return out
}

// blankTokens fills the inputs of a text with the ids of an empty one.
func blankTokens(in modelpkg.Input, item [][]byte, input int) {
	size := in.DType.Size()
	length := len(item[input]) / size
	ids := in.Tokens.Encode("", length)
	var data, mask []byte
	for i := range length {
		id, own := float64(in.Tokens.Pad()), 0.0
		if i < len(ids) {
			id, own = float64(ids[i]), 1
		}
		data = append(data, modelpkg.Element(in.DType, id)...)
		mask = append(mask, modelpkg.Element(in.DType, own)...)
	}
	item[input] = data
	if k := in.Tokens.Mask; k >= 0 && len(item[k]) == len(mask) {
		item[k] = mask
	}
	if k := in.Tokens.Types; k >= 0 {
		item[k] = make([]byte, len(item[k]))
	}
}
