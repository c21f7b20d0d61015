package modelpkg

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Warnings returns what a person should know before relying on a profile: accuracies
// that were measured on few samples, each with its interval. Each string is one line.
func (p *Profile) Warnings() []string {
	var few []string
	least := FewSamples
	for _, v := range p.Declared() {
		if a := v.Accuracy; a.Samples < FewSamples {
			least = min(least, a.Samples)
			few = append(few, fmt.Sprintf("%s %.3f %s", v.Name, a.Mean, plusMinus(a)))
		}
	}
	if len(few) == 0 {
		return nil
	}
	if len(few) > warnedVariants {
		few = append(few[:warnedVariants], fmt.Sprintf("and %d more", len(few)-warnedVariants))
	}
	return []string{fmt.Sprintf("profile %s: %d samples leave accuracies uncertain (%s); profile on 1,000 or more", p.Device, least, strings.Join(few, ", "))}
}

// Declared returns the variants by their names in mosel.yaml. Those of one declaration, for
// items of different sizes, differ in their times alone: it has the first.
func (p *Profile) Declared() (list []VariantProfile) {
	for _, v := range p.Variants {
		v.Name, _, _ = strings.Cut(v.Name, "@")
		if len(list) == 0 || list[len(list)-1].Name != v.Name {
			list = append(list, v)
		}
	}
	return list
}

// warnedVariants bounds the variants that one warning names.
const warnedVariants = 8

// plusMinus returns half the interval's width in percentage points.
func plusMinus(a AccuracyMean) string {
	return fmt.Sprintf("±%.1f points", 50*(a.High-a.Low))
}

// checkProfiles reads every profile of the package.
func checkProfiles(m *Model) (problems Problems, warnings []string) {
	names, err := profileNames(m)
	if err != nil {
		return Problems{{File: filepath.Join(m.Dir, profilesDir), Message: reason(err)}}, nil
	}
	for _, name := range names {
		p, err := LoadProfile(m, m.ProfilePath(name))
		if err != nil {
			if e, ok := errors.AsType[*slo.Error](err); ok {
				err = e.Err
			}
			problems = append(problems, Problem{File: m.ProfilePath(name), Message: err.Error()})
			continue
		}
		warnings = append(warnings, p.Warnings()...)
	}
	return problems, warnings
}
