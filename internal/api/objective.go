package api

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
	"github.com/mosel-serve/mosel/oip"
)

// Headers for an objective, for clients that cannot set parameters.
const (
	headerMinAccuracy = "X-Mosel-Min-Accuracy"
	headerConfidence  = "X-Mosel-Accuracy-Confidence"
	headerDeadline    = "X-Mosel-Deadline-Ms"
)

// objective reads the objective of a request from its parameters and headers. If both
// have a floor, a confidence or a deadline, the higher floor and confidence and the earlier
// deadline count. Without a confidence, it is usual. Deadlines count from arrived.
func objective(params oip.Parameters, header access.Header, arrived slo.Instant, usual slo.Confidence) (slo.Objective, error) {
	o := slo.Objective{Deadline: slo.Never}
	if _, given := params.Get("accuracy_confidence"); !given && len(header.Values(headerConfidence)) == 0 {
		o.Confidence = usual
	}
	for _, p := range params {
		if err := state(&o, p.Name, p.Value, arrived); err != nil {
			return o, slo.E("", slo.KindInvalid, "parameter %s is %w", p.Name, err)
		}
	}
	for _, h := range [...]struct{ header, name string }{{headerMinAccuracy, "min_accuracy"}, {headerConfidence, "accuracy_confidence"}, {headerDeadline, "deadline_ms"}} {
		for _, text := range header.Values(h.header) {
			if err := state(&o, h.name, oip.String(strings.TrimSpace(text)), arrived); err != nil {
				return o, slo.E("", slo.KindInvalid, "header %s is %w", h.header, err)
			}
		}
	}
	return o, nil
}

// state adds a parameter to the objective if it is part of one. Errors begin with the
// value.
func state(o *slo.Objective, name string, value oip.Value, arrived slo.Instant) error {
	switch name {
	case "min_accuracy":
		floor, err := accuracy(value)
		o.Floor = max(o.Floor, floor)
		return err
	case "accuracy_confidence":
		level, err := confidence(value)
		o.Confidence = max(o.Confidence, level)
		return err
	case "deadline_ms":
		left, err := milliseconds(value)
		o.Deadline = min(o.Deadline, arrived.Add(left))
		return err
	case "timeout":
		left, limited, err := microseconds(value)
		if limited {
			o.Deadline = min(o.Deadline, arrived.Add(left))
		}
		return err
	case "late":
		late, err := slo.ParseLateRule(value.Text())
		if err != nil || !value.IsString() {
			return fmt.Errorf("%v: it must be \"drop\" or \"run\"", value)
		}
		o.Late = late
	case "recover":
		may, err := value.Bool()
		if err != nil {
			return fmt.Errorf("%v: it must be true or false: whether variants that recover missing modalities may run", value)
		}
		o.NoRecovery = o.NoRecovery || !may
	}
	return nil
}

// understood adds to an answer's facts the request's floor, confidence and deadline as the server
// understood them, if it had any. The deadline is the time from arrival.
func understood(p oip.Parameters, o slo.Objective, arrived slo.Instant) oip.Parameters {
	if o.Floor > 0 {
		p = append(p, oip.Parameter{Name: "min_accuracy", Value: oip.Float(o.Floor.Float())})
	}
	if o.Confidence > 0 {
		p = append(p, oip.Parameter{Name: "accuracy_confidence", Value: oip.Float(o.Confidence.Float())})
	}
	if o.Deadline != slo.Never {
		us := o.Deadline.Sub(arrived).Round(time.Microsecond).Microseconds()
		left := oip.Int(us / 1000)
		if us%1000 != 0 {
			left = oip.Float(float64(us) / 1000)
		}
		p = append(p, oip.Parameter{Name: "deadline_ms", Value: left})
	}
	return p
}

// accuracy reads a floor: a share between 0 and 1. Larger numbers are refused, because
// 97 could be percent or thousandths.
func accuracy(value oip.Value) (slo.Accuracy, error) {
	share, err := trimmed(value).Float64()
	if err != nil {
		return 0, fmt.Errorf("%v: an accuracy is a number between 0 and 1, such as 0.97", value)
	}
	return slo.AccuracyOf(share)
}

// confidence reads how sure it must be that the floor is kept: 0 for the expected
// accuracy, or a number below 1.
func confidence(value oip.Value) (slo.Confidence, error) {
	x, err := trimmed(value).Float64()
	if err != nil {
		return 0, fmt.Errorf("%v: a confidence is a number between 0 and 1, such as 0.95", value)
	}
	if x == 0 {
		return 0, nil
	}
	level, err := slo.ConfidenceOf(x)
	if err != nil {
		return 0, fmt.Errorf("%v: %w", value, err)
	}
	return level, nil
}

// trimmed returns a string value without white space around it, and other values
// unchanged.
func trimmed(value oip.Value) oip.Value {
	if !value.IsString() {
		return value
	}
	return oip.String(strings.TrimSpace(value.Text()))
}

// milliseconds reads a remaining time, which may have a fraction.
func milliseconds(value oip.Value) (time.Duration, error) {
	ms, err := trimmed(value).Float64()
	if err != nil || ms <= 0 {
		return 0, fmt.Errorf("%v: it must be a number of milliseconds above 0, such as 50", value)
	}
	if ms >= float64(math.MaxInt64/time.Millisecond) {
		return math.MaxInt64, nil
	}
	return stats.FromMilliseconds(ms), nil
}

// microseconds reads Triton's timeout, where 0 means none.
func microseconds(value oip.Value) (left time.Duration, limited bool, err error) {
	us, err := trimmed(value).Int64()
	if err != nil || us < 0 {
		return 0, false, fmt.Errorf("%v: it must be a whole number of microseconds, 0 for none", value)
	}
	if us > math.MaxInt64/int64(time.Microsecond) {
		return math.MaxInt64, true, nil
	}
	return time.Duration(us) * time.Microsecond, us > 0, nil
}

// choice reads the parameter "modalities", with which a client chooses the modalities
// itself; 0 if it is not set. Every item must carry the chosen ones.
func choice(params oip.Parameters, m *modelpkg.Model, c carried, noRecovery bool) (slo.Modalities, error) {
	value, ok := params.Get("modalities")
	if !ok {
		return 0, nil
	}
	all := m.ModalityNames()
	if !value.IsString() || strings.TrimSpace(value.Text()) == "" {
		return 0, slo.E("", slo.KindInvalid, "parameter modalities is %v: it must name modalities of %s in a string, comma separated: %s", value, m.Name, strings.Join(all, ","))
	}
	var set slo.Modalities
	for name := range strings.SplitSeq(value.Text(), ",") {
		name = strings.TrimSpace(name)
		i := indexOf(all, name)
		switch {
		case i < 0:
			return 0, slo.E("", slo.KindInvalid, "parameter modalities: %s has no modality %q, it has %s", m.Name, name, strings.Join(all, ", "))
		case !c.union.Has(1 << i):
			return 0, slo.E("", slo.KindInvalid, "parameter modalities: %q is to be run, but the request carries only %s", name, c.union.Join(all))
		case !c.every.Has(1 << i):
			item := slices.IndexFunc(c.items, func(set slo.Modalities) bool { return !set.Has(1 << i) })
			return 0, slo.E("", slo.KindInvalid, "parameter modalities: %q is to be run, but item %d does not carry it", name, item)
		}
		set |= 1 << i
	}
	for _, v := range m.Variants {
		if v.Modalities == set && (!noRecovery || v.Recovers == 0) {
			return set, nil
		}
	}
	return 0, slo.E("", slo.KindInvalid, "parameter modalities: %s has no variant that runs on exactly %s; it has %s",
		m.Name, set.Join(all), subsets(m, noRecovery))
}

// subsets lists the sets of modalities that variants run on; without recovery, only those
// of variants that recover nothing.
func subsets(m *modelpkg.Model, noRecovery bool) string {
	all := m.ModalityNames()
	seen := map[slo.Modalities]bool{}
	var list []string
	for _, v := range m.Variants {
		if noRecovery && v.Recovers != 0 {
			continue
		}
		if !seen[v.Modalities] {
			list = append(list, v.Modalities.Join(all))
		}
		seen[v.Modalities] = true
	}
	return strings.Join(list, ", ")
}
