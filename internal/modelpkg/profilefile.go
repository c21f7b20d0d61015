package modelpkg

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"
	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
)

// profileBytesMax bounds a profile file: 64 variants with 4096 batch sizes fit.
const profileBytesMax = 64 << 20

// profilesDir is the directory of a package with its profiles.
const profilesDir = "profiles"

// ProfilePath returns the path of the profile for a device: profiles/<device>.json.
func (m *Model) ProfilePath(device string) string {
	return filepath.Join(m.Dir, profilesDir, device+".json")
}

// SamplesPath returns the path of a profile's per-sample results, next to the profile.
func (m *Model) SamplesPath(device string) string {
	return filepath.Join(m.Dir, profilesDir, device+".samples.npz")
}

// FindProfile returns the profile to use with plain CPU, see FindProfileOn.
func FindProfile(m *Model, device string) (*Profile, error) { return FindProfileOn(m, device, nil) }

// FindProfileOn returns the profile to use with a list of providers. A named device must
// have one. For "" it is the profile of this machine's Device, or else the only one that
// was measured with these providers, or else the only one; the caller sees in its Device
// and Providers which it is. Errors have kind not found if there is none to choose,
// invalid if the chosen one is malformed or of another model, and unavailable if the
// system could not read it now.
func FindProfileOn(m *Model, device string, providers []Provider) (*Profile, error) {
	op := "find a profile of " + m.Name
	if device != "" {
		if err := CheckDevice(device); err != nil {
			return nil, &slo.Error{Op: op, Kind: slo.KindInvalid, Err: err}
		}
		return LoadProfile(m, m.ProfilePath(device))
	}
	names, err := profileNames(m)
	if err != nil {
		return nil, fileError(op, err)
	}
	if len(names) > 1 {
		names = slices.DeleteFunc(names, func(name string) bool { return ofFeedback(m.ProfilePath(name)) })
	}
	own, _ := Device(providers)
	with := names
	if len(names) > 1 {
		with = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !measuredOn(m.ProfilePath(name), providers) })
	}
	switch {
	case slices.Contains(names, own):
		return LoadProfile(m, m.ProfilePath(own))
	case len(with) == 1:
		return LoadProfile(m, m.ProfilePath(with[0]))
	case len(names) == 0:
		return nil, slo.E(op, slo.KindNotFound, "there is none in %s: run `mosel profile %s` first", filepath.Join(m.Dir, profilesDir), m.Dir)
	}
	return nil, slo.E(op, slo.KindNotFound, "there is none for this device (%s): run `mosel profile %s` first, or choose one of %s with --device",
		own, m.Dir, strings.Join(names, ", "))
}

// measuredOn reports whether a profile was measured with a list of providers. One that
// cannot be read is reported when it is chosen.
func measuredOn(path string, providers []Provider) bool {
	text, err := readFile(path, profileBytesMax)
	if err != nil {
		return false
	}
	var p struct{ Providers []Provider }
	return json.Unmarshal(text, &p) == nil && slices.Equal(p.Providers, providers)
}

// ofFeedback reports whether a profile's accuracies are of feedback.
func ofFeedback(path string) bool {
	text, err := readFile(path, profileBytesMax)
	if err != nil {
		return false // reported when it is chosen
	}
	var p struct{ Dataset string }
	return json.Unmarshal(text, &p) == nil && p.Dataset == DatasetFeedback
}

// profileNames returns the devices that the package has profiles for, by name.
func profileNames(m *Model) ([]string, error) {
	files, err := os.ReadDir(filepath.Join(m.Dir, profilesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".json"); ok && name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// LoadProfile reads a profile and refuses one of another model. Another mosel.yaml,
// graph or weights make another model. Errors have kind not found or invalid.
func LoadProfile(m *Model, path string) (*Profile, error) {
	op := "load profile " + path
	text, err := readFile(path, profileBytesMax)
	if err != nil {
		return nil, fileError(op, err)
	}
	p, err := decodeProfile(text)
	if err != nil {
		return nil, &slo.Error{Op: op, Kind: slo.KindInvalid, Err: err}
	}
	if err := p.fits(m); err != nil {
		return nil, &slo.Error{Op: op, Kind: slo.KindInvalid, Err: err}
	}
	return p, nil
}

// decodeProfile reads the JSON strictly: an unknown key is an error.
func decodeProfile(text []byte) (*Profile, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	p := new(Profile)
	if err := decoder.Decode(p); err != nil {
		line := 1 + bytes.Count(text[:min(int(decoder.InputOffset()), len(text))], []byte("\n"))
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			line = 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
		}
		return nil, fmt.Errorf("line %d: %w", line, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more data after the profile")
	}
	return p, nil
}

// fits checks the profile's values and that it belongs to this model.
func (p *Profile) fits(m *Model) error {
	switch {
	case p.Format != ProfileFormat:
		return fmt.Errorf("format is %d; this mosel reads %d", p.Format, ProfileFormat)
	case p.Model != m.Name || p.ModelDigest != m.Digest:
		return fmt.Errorf("it was measured for another model: %s %s, but %s is %s %s: run `mosel profile %s` again",
			p.Model, shortDigest(p.ModelDigest), m.Dir, m.Name, shortDigest(m.Digest), m.Dir)
	case p.Metric != "" && p.Metric != m.Scoring.Title():
		return fmt.Errorf("its metric is %q; the model's is %q", p.Metric, m.Scoring.Title())
	case slices.ContainsFunc(p.Providers, func(one Provider) bool { return !slices.Contains(Providers(), one) }):
		return fmt.Errorf("its providers are %s; known are %s", ProviderNames(p.Providers), ProviderNames(Providers()))
	case p.Threads < 1:
		return fmt.Errorf("threads is %d; it must be at least 1", p.Threads)
	case len(p.Variants) != len(m.Variants):
		return fmt.Errorf("it has %d variants; the model has %d", len(p.Variants), len(m.Variants))
	}
	for name, n := range p.Lengths {
		if n < 1 || !slices.ContainsFunc(m.Inputs, func(in Input) bool { return in.Name == name }) {
			return fmt.Errorf("lengths has %q: %d, which is no size of an input of the model", name, n)
		}
	}
	if err := checkInputs(p.Inputs, m); err != nil {
		return err
	}
	if err := CheckDevice(p.Device); err != nil {
		return err
	}
	if err := p.checkStages(m); err != nil {
		return err
	}
	if err := p.Cascades.check(m); err != nil {
		return err
	}
	for i, v := range p.Variants {
		want := m.Variants[i]
		if v.Name != want.Name || v.Precision != want.Precision || !slices.Equal(v.Modalities, want.Modalities.Names(m.ModalityNames())) {
			return fmt.Errorf("variant %d is %s %s %v; the model has %s %s %v", i, v.Name, v.Precision, v.Modalities,
				want.Name, want.Precision, want.Modalities.Names(m.ModalityNames()))
		}
		if err := v.checkAnswers(m); err != nil {
			return fmt.Errorf("variant %s: %w", v.Name, err)
		}
		if err := v.check(m.Limits.BatchItemsMax); err != nil {
			return fmt.Errorf("variant %s: %w", v.Name, err)
		}
	}
	return nil
}

// check checks one variant's measurements as far as planning relies on them.
func (v *VariantProfile) check(batchItemsMax int) error {
	if err := v.Accuracy.check(); err != nil {
		return err
	}
	return checkBatches(v.Batches, batchItemsMax)
}

// check checks a mean score.
func (a AccuracyMean) check() error {
	if a.Interval != score.ByWilson && a.Interval != score.ByBetting {
		return fmt.Errorf("the interval %q is not known", a.Interval)
	}
	if a.Samples < 1 || a.Correct < 0 || a.Correct > a.Samples || !(0 <= a.Low && a.Low <= a.Mean && a.Mean <= a.High && a.High <= 1) {
		return fmt.Errorf("accuracy %d of %d, %v in [%v, %v], is not possible", a.Correct, a.Samples, a.Mean, a.Low, a.High)
	}
	if len(a.Lower) > 0 && len(a.Lower) != slo.ConfidenceLevels || slices.ContainsFunc(a.Lower, func(x float64) bool { return !(0 <= x && x <= 1) }) {
		return fmt.Errorf("accuracy: lower must be %d numbers from 0 to 1", slo.ConfidenceLevels)
	}
	return nil
}

// checkStages checks the stages' measurements. A profile may have none: of a model
// without stages, from an older mosel, or from a runtime that cannot run stages alone.
func (p *Profile) checkStages(m *Model) error {
	runs, _ := m.StageRuns()
	if len(p.Stages) != 0 && len(p.Stages) != len(runs) {
		return fmt.Errorf("it has %d stages; the model has %d", len(p.Stages), len(runs))
	}
	for i, s := range p.Stages {
		if s.Name != runs[i].Name {
			return fmt.Errorf("stage %d is %s; the model has %s", i, s.Name, runs[i].Name)
		}
		if err := checkBatches(s.Batches, m.Limits.BatchItemsMax); err != nil {
			return fmt.Errorf("stage %s: %w", s.Name, err)
		}
	}
	return nil
}

// checkBatches checks measurements by batch size.
func checkBatches(batches []BatchProfile, batchItemsMax int) error {
	if len(batches) == 0 || batches[0].Items != 1 {
		return errors.New("the first batch must be of 1 item")
	}
	last := 0
	for _, b := range batches {
		switch {
		case b.Items <= last:
			return fmt.Errorf("batches of %d and then %d items: they must ascend", last, b.Items)
		case b.Items > batchItemsMax:
			return fmt.Errorf("a batch of %d items; the model's limit is %d", b.Items, batchItemsMax)
		case !(b.P50MS > 0) || b.P95MS < b.P50MS || math.IsInf(b.P95MS, 0):
			return fmt.Errorf("batch of %d: %v ms (p50) and %v ms (p95) are not possible", b.Items, b.P50MS, b.P95MS)
		case b.MemoryBytes < 0 || b.Runs < 1:
			return fmt.Errorf("batch of %d: %d bytes in %d runs is not possible", b.Items, b.MemoryBytes, b.Runs)
		}
		last = b.Items
	}
	return nil
}

// shortDigest returns enough of a digest for people to distinguish two.
func shortDigest(d string) string {
	d = strings.TrimPrefix(d, "sha256:")
	return strictyaml.Clip(d, 12)
}

// Save writes the profile as JSON. The file is replaced completely or not at all.
func (p *Profile) Save(path string) error {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return slo.E("save profile "+path, slo.KindInternal, "%w", err)
	}
	return replaceFile(path, append(text, '\n'))
}

// replaceFile writes a file under a temporary name and renames it.
func replaceFile(path string, content []byte) error {
	op := "write " + path
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return slo.E(op, slo.KindInvalid, "%s", reason(err))
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return slo.E(op, slo.KindInvalid, "%s", reason(err))
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error matters
		return slo.E(op, slo.KindInternal, "%w", err)
	}
	return nil
}

// MeasuredAccuracy returns a share of right answers with its 95 % interval.
func MeasuredAccuracy(correct, samples int) AccuracyMean {
	if samples < 1 {
		return AccuracyMean{High: 1}
	}
	p := float64(correct) / float64(samples)
	low, high := score.Wilson(p, float64(samples))
	return AccuracyMean{Correct: correct, Samples: samples, Mean: micro(p), Low: micro(low), High: micro(high)}
}

// MeasuredScore returns a mean score with its 95 % interval, and lower bounds that hold
// together for so many variants.
func MeasuredScore(scores []float64, variants int) AccuracyMean {
	mean, low, high, by := score.Interval(scores)
	a := AccuracyMean{Samples: len(scores), Mean: micro(mean), Low: micro(low), High: micro(high), Interval: by}
	for _, s := range scores {
		if s == 1 {
			a.Correct++
		}
	}
	if by != score.ByWilson {
		for level := range slo.ConfidenceLevels {
			low := score.LowerMean(scores, missAt(level, variants))
			a.Lower = append(a.Lower, math.Floor(low*float64(slo.AccuracyUnit))/float64(slo.AccuracyUnit))
		}
	}
	return a
}

// micro rounds to the unit of accuracies, a millionth.
func micro(x float64) float64 { return math.Round(x*1e6) / 1e6 }

var (
	deviceForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)
	deviceNoun = regexp.MustCompile(`\((r|tm)\)|\b(cpu|processor|with radeon.*|[0-9]+-core)\b|@`)
	deviceGap  = regexp.MustCompile(`[^a-z0-9.]+`)
)

// CheckDevice checks the form of a device's name, which becomes a file name.
func CheckDevice(name string) error {
	if !deviceForm.MatchString(name) {
		return fmt.Errorf("the device %q must be small letters, digits, '.', '_' and '-', at most 64", strictyaml.Clip(name, 80))
	}
	return nil
}

// Device returns a name for this machine's processor, for the file of its profile, such
// as "cpu-intel-xeon-2.80ghz", and the maker's own name. Providers other than the CPU are
// part of both, as in "cpu-intel-xeon-2.80ghz-openvino".
func Device(providers []Provider) (name, detail string) {
	detail = strings.TrimSpace(cpuid.CPU.BrandName)
	name = "cpu-" + runtime.GOARCH
	if detail == "" {
		detail = runtime.GOARCH
	} else {
		name = deviceSlug(detail)
	}
	if PlainCPU(providers) {
		return name, detail
	}
	others := slices.DeleteFunc(slices.Clone(providers), func(p Provider) bool { return p == CPU })
	suffix := "-" + strings.Join(providerNames(others), "-")
	return clipDevice(name, deviceLength-len(suffix)) + suffix, detail + ", providers " + ProviderNames(providers)
}

func deviceSlug(brand string) string {
	plain := deviceNoun.ReplaceAllString(strings.ToLower(brand), " ")
	return clipDevice("cpu-"+strings.Trim(deviceGap.ReplaceAllString(plain, "-"), "-."), deviceLength)
}

// deviceLength is the length of the longest name of a device, see deviceForm.
const deviceLength = 64

func clipDevice(name string, length int) string {
	return strings.TrimRight(name[:min(len(name), length)], "-.")
}
