package proposal

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/mosel-serve/mosel/internal/modelpkg"
)

// The files that a split writes, in a package.
const (
	profileFile = "eval/profile.npz"
	heldOutFile = "eval/heldout.npz"
)

// Split divides the samples of the profile set into two files: a share to profile on,
// and the rest held out. The same samples, share and seed give the same files.
// Existing files are not replaced. undo removes the files and restores the proposal.
func (p *Proposal) Split(dir string, share float64, seed uint64) (undo func(), err error) {
	s := p.chosen
	switch {
	case s == nil:
		return nil, errors.New("there are no labelled samples to split: save them as an .npz with one array for each input, and label")
	case p.HeldOut != "":
		return nil, fmt.Errorf("%s is held out already: leave out --split", p.HeldOut)
	}
	n := s.count()
	first := int(share*float64(n) + 0.5)
	if first < 1 || first >= n {
		return nil, fmt.Errorf("--split %v of %d samples leaves one part empty", share, n)
	}
	order := rand.New(rand.NewPCG(seed, 0)).Perm(n)
	parts := [][]int{slices.Sorted(slices.Values(order[:first])), slices.Sorted(slices.Values(order[first:]))}
	var written []string
	undo = func() {
		for _, name := range written {
			_ = os.Remove(name) // a file that stays is reported by the next split
		}
	}
	for i, name := range []string{profileFile, heldOutFile} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := p.writePart(file, parts[i]); err != nil {
			if !errors.Is(err, fs.ErrExist) {
				written = append(written, file)
			}
			undo()
			return nil, err
		}
		written = append(written, file)
	}
	notes, remove := p.Notes, undo
	undo = func() {
		remove()
		p.Profile, p.HeldOut, p.Notes = s.File, "", notes
	}
	p.Profile, p.HeldOut = profileFile, heldOutFile
	p.note("%s was split with seed %d: %d samples to profile on in %s, %d held out in %s", clip(s.File), seed, len(parts[0]), profileFile, len(parts[1]), heldOutFile)
	return undo, nil
}

// writePart writes some of the samples to a new file.
func (p *Proposal) writePart(file string, rows []int) error {
	in, size, err := p.chosen.open()
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("--split does not replace a file: %w", err)
	}
	w := bufio.NewWriter(out)
	err = modelpkg.SubsetNPZ(w, in, size, modelpkg.Subset{Samples: p.chosen.count(), Rows: rows, Whole: p.whole()})
	return errors.Join(err, w.Flush(), out.Close())
}

// whole lists the arrays that both parts get completely.
func (p *Proposal) whole() []string {
	names := []string{galleryArray, galleryLabelArray}
	for _, m := range p.Modalities {
		for _, in := range m.Inputs {
			if a := p.chosen.array(in.Name); in.Unbatched && a != nil && len(a.Shape) == len(in.Shape) {
				names = append(names, in.Name)
			}
		}
	}
	return names
}

// Report is what was found, in words.
func (p *Proposal) Report() []string {
	lines := []string{}
	for _, g := range p.Graphs {
		after := ""
		if n := len(g.stages); n > 1 {
			after = " after " + listed(g.stages[:n-1])
		}
		lines = append(lines, fmt.Sprintf("%s%s: %s -> %s", clip(g.File), after, valuesText(g.Inputs), valuesText(g.Outputs)))
	}
	for _, s := range p.Samples {
		line := fmt.Sprintf("%s: %s", clip(s.File), listed(s.names()))
		if n := s.count(); n > 0 {
			line += fmt.Sprintf(" (%s)", counted(n, "sample", "samples"))
		}
		lines = append(lines, line)
	}
	return lines
}

// valuesShown bounds the tensors that a line lists.
const valuesShown = 8

func valuesText(values []Value) string {
	text := ""
	for i, v := range values {
		if i == valuesShown {
			return text + ", ..."
		}
		if i > 0 {
			text += ", "
		}
		text += clip(v.Name)
		if v.Shape != nil {
			text += shapeList(v.Shape)
		}
	}
	return text
}
