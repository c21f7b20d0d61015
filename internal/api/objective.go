package api

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// Headers that state an objective, for clients whose parameters cannot.
const (
	headerMinAccuracy = "X-Mosel-Min-Accuracy"
	headerDeadline    = "X-Mosel-Deadline-Ms"
)

// objective reads what a request asks for from its parameters and headers. Where
// a thing is stated twice the stricter counts: the higher floor, the earlier
// deadline. Deadlines count from arrived.
func objective(params oip.Parameters, header access.Header, arrived slo.Instant) (slo.Objective, error) {
	o := slo.Objective{Deadline: slo.Never}
	for _, p := range params {
		if err := state(&o, p.Name, p.Value, arrived); err != nil {
			return o, slo.E("", slo.KindInvalid, "parameter %s: %w", p.Name, err)
		}
	}
	if text := header.Get(headerMinAccuracy); text != "" {
		if err := state(&o, "min_accuracy", oip.String(text), arrived); err != nil {
			return o, slo.E("", slo.KindInvalid, "header %s: %w", headerMinAccuracy, err)
		}
	}
	if text := header.Get(headerDeadline); text != "" {
		if err := state(&o, "deadline_ms", oip.String(text), arrived); err != nil {
			return o, slo.E("", slo.KindInvalid, "header %s: %w", headerDeadline, err)
		}
	}
	return o, nil
}

// state takes one statement into the objective; other parameters it leaves be.
func state(o *slo.Objective, name string, value oip.Value, arrived slo.Instant) error {
	switch name {
	case "min_accuracy":
		floor, err := accuracy(value)
		o.Floor = max(o.Floor, floor)
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
		if !value.IsString() {
			return fmt.Errorf("%v is neither \"drop\" nor \"run\"", value)
		}
		var err error
		o.Late, err = slo.ParseLateRule(value.Text())
		return err
	}
	return nil
}

// perMille is the integer that stands for the accuracy 1. Some clients cannot
// send fractions.
const perMille = 1000

// accuracy reads a floor: a share between 0 and 1, or a whole number from 2 to
// 1000 in thousandths. 0 and 1 mean 0.0 and 1.0.
func accuracy(value oip.Value) (slo.Accuracy, error) {
	text := strings.TrimSpace(value.Text())
	if thousandths, err := strconv.Atoi(text); err == nil && thousandths > 1 && thousandths <= perMille {
		return slo.Accuracy(thousandths) * (slo.AccuracyUnit / perMille), nil
	}
	share, err := oip.String(text).Float64()
	if err == nil {
		if a, err := slo.AccuracyOf(share); err == nil {
			return a, nil
		}
	}
	return 0, fmt.Errorf("%v is neither a share between 0 and 1 nor a whole number of thousandths between 2 and %d", value, perMille)
}

// milliseconds reads a time that is left, which may have a fraction.
func milliseconds(value oip.Value) (time.Duration, error) {
	ms, err := value.Float64()
	if err != nil {
		return 0, fmt.Errorf("%w of milliseconds", err)
	}
	if ms <= 0 {
		return 0, fmt.Errorf("%v is not a time that is left: milliseconds above 0 are", value)
	}
	if ms >= float64(math.MaxInt64/time.Millisecond) {
		return math.MaxInt64, nil
	}
	return time.Duration(ms * float64(time.Millisecond)), nil
}

// microseconds reads Triton's timeout, where 0 stands for none.
func microseconds(value oip.Value) (left time.Duration, limited bool, err error) {
	us, err := value.Int64()
	if err != nil {
		return 0, false, fmt.Errorf("%w: a timeout is one of microseconds", err)
	}
	if us < 0 {
		return 0, false, fmt.Errorf("%v is negative", value)
	}
	if us > math.MaxInt64/int64(time.Microsecond) {
		return math.MaxInt64, true, nil
	}
	return time.Duration(us) * time.Microsecond, us > 0, nil
}

// choice reads the parameter "modalities", with which a client takes the choice
// upon itself. 0 says that it does not. present are the modalities it sent.
func choice(params oip.Parameters, m *modelpkg.Model, present slo.Modalities) (slo.Modalities, error) {
	value, ok := params.Get("modalities")
	if !ok {
		return 0, nil
	}
	all := m.ModalityNames()
	var set slo.Modalities
	for name := range strings.SplitSeq(value.Text(), ",") {
		name = strings.TrimSpace(name)
		i := indexOf(all, name)
		switch {
		case i < 0:
			return 0, slo.E("", slo.KindInvalid, "parameter modalities: %s has no modality %q, it has %s", m.Name, name, strings.Join(all, ", "))
		case !present.Has(1 << i):
			return 0, slo.E("", slo.KindInvalid, "parameter modalities: %q is to be run, but the request carries only %s", name, present.Join(all))
		}
		set |= 1 << i
	}
	for _, v := range m.Variants {
		if v.Modalities == set {
			return set, nil
		}
	}
	return 0, slo.E("", slo.KindInvalid, "parameter modalities: %s has no variant that runs on exactly %s; it has %s",
		m.Name, set.Join(all), subsets(m))
}

// subsets lists the modalities that variants run on.
func subsets(m *modelpkg.Model) string {
	all := m.ModalityNames()
	seen := map[slo.Modalities]bool{}
	var list []string
	for _, v := range m.Variants {
		if !seen[v.Modalities] {
			list = append(list, v.Modalities.Join(all))
		}
		seen[v.Modalities] = true
	}
	return strings.Join(list, ", ")
}
