package api

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// placesPrefix begins the name of the parameter that says to which items the rows of a
// modality belong, such as items.image = "0-6,9".
const placesPrefix = "items."

// placesOf reads from the parameters which items carry each modality; nil: all items.
func placesOf(params oip.Parameters, m *modelpkg.Model, sent slo.Modalities, itemsMax int) ([slo.ModalitiesMax][]int, error) {
	var places [slo.ModalitiesMax][]int
	for _, p := range params {
		name, ok := strings.CutPrefix(p.Name, placesPrefix)
		if !ok {
			continue
		}
		i := indexOf(m.ModalityNames(), name)
		switch {
		case i < 0:
			return places, invalid("parameter %s: %s has no modality %q, it has %s", p.Name, m.Name, name, strings.Join(m.ModalityNames(), ", "))
		case !sent.Has(1 << i):
			return places, invalid("parameter %s: no input of modality %q was sent", p.Name, name)
		case !p.Value.IsString():
			return places, invalid("parameter %s is %v: it must be a string of item numbers, such as \"0-6,9\"", p.Name, p.Value)
		}
		var err error
		if places[i], err = oip.ParseItems(p.Value.Text(), itemsMax); err != nil {
			return places, invalid("parameter %s: %w", p.Name, err)
		}
	}
	return places, nil
}

// itemsOf returns the number of items of a request. All inputs that every item carries
// must have this number of rows. If there is no such input, it is the highest item
// number plus 1.
func itemsOf(m *modelpkg.Model, given []*tensor.Tensor, places [slo.ModalitiesMax][]int) (int, error) {
	n, highest, by := -1, -1, ""
	for i, in := range given {
		if in == nil {
			continue
		}
		spec := m.Inputs[i]
		where := places[spec.Modality]
		switch {
		case forAll(spec, in):
			if where != nil {
				highest = max(highest, where[len(where)-1])
			}
		case where != nil && len(where) != in.Rows():
			return 0, invalid("input %q has %d rows, parameter %s%s names %d items: both must agree", in.Name, in.Rows(), placesPrefix,
				m.Modalities[spec.Modality].Name, len(where))
		case where != nil:
			highest = max(highest, where[len(where)-1])
		case n >= 0 && n != in.Rows():
			return 0, invalid("input %q has %d items, input %q has %d: all inputs of a request need the same number of items, or a parameter %s%s that says which items it is for",
				by, n, in.Name, in.Rows(), placesPrefix, m.Modalities[spec.Modality].Name)
		default:
			n, by = in.Rows(), in.Name
		}
	}
	switch {
	case n < 0 && highest < 0:
		return 1, nil // only inputs that apply to the whole request
	case n < 0:
		return highest + 1, nil
	case highest >= n:
		return 0, invalid("a parameter items.MODALITY names item %d, but input %q has only %d items, numbered from 0", highest, by, n)
	}
	return n, nil
}

// carry returns which modalities the items carry. It allocates only if not all items
// carry everything that was sent.
func (x *exchange) carry(m *modelpkg.Model, sent slo.Modalities, places [slo.ModalitiesMax][]int, n int) carried {
	c := carried{union: sent, every: sent}
	uneven := false
	for i := range m.Modalities {
		uneven = uneven || places[i] != nil
	}
	absent := x.absent(m, sent, n)
	if !uneven && absent == nil {
		return c
	}
	c.absent = absent
	c.items = make([]slo.Modalities, n)
	for i := range m.Modalities {
		bit := slo.Modalities(1 << i)
		switch {
		case !sent.Has(bit):
		case places[i] == nil:
			for item := range c.items {
				c.items[item] |= bit
			}
		default:
			for _, item := range places[i] {
				c.items[item] |= bit
			}
		}
	}
	c.union = 0
	for item := range c.items {
		if absent != nil {
			c.items[item] &^= absent[item]
		}
		c.union |= c.items[item]
		c.every &= c.items[item]
	}
	return c
}

// absent returns, by item, the modalities with an input that counts as absent by the
// rule in the model package; nil: there are none.
func (x *exchange) absent(m *modelpkg.Model, sent slo.Modalities, n int) (list []slo.Modalities) {
	for i, in := range m.Inputs {
		bit := slo.Modalities(1 << in.Modality)
		if in.Absent.Kind == modelpkg.AbsentNever || !sent.Has(bit) {
			continue
		}
		for item := range n {
			if data := x.items[item][i]; data != nil && x.isAbsent(in, i, data) {
				if list == nil {
					list = make([]slo.Modalities, n)
				}
				list[item] |= bit
			}
		}
	}
	return list
}

// check refuses a request with an item for which no variant has all its modalities.
// Without recovery, variants that recover modalities do not count.
func (c carried) check(m *modelpkg.Model, noRecovery bool) error {
	without := ""
	if noRecovery {
		without = " without recovery"
	}
	if c.items == nil {
		if runnable(m, c.union, noRecovery) {
			return nil
		}
		return invalid("%s cannot run on %s alone%s: it runs on %s", m.Name, c.union.Join(m.ModalityNames()), without, subsets(m, noRecovery))
	}
	for item, set := range c.items {
		if runnable(m, set, noRecovery) {
			continue
		}
		has := "carries nothing"
		if set != 0 {
			has = "carries " + set.Join(m.ModalityNames()) + " alone"
		}
		if c.absent != nil && c.absent[item] != 0 {
			has += ", because " + c.absent[item].Join(m.ModalityNames()) + " is absent (" + looks(m, c.absent[item]) + ")"
		}
		return invalid("item %d %s: %s runs%s on %s", item, has, m.Name, without, subsets(m, noRecovery))
	}
	return nil
}

func runnable(m *modelpkg.Model, set slo.Modalities, noRecovery bool) bool {
	for _, v := range m.Variants {
		if set.Has(v.Modalities) && (!noRecovery || v.Recovers == 0) {
			return true
		}
	}
	return false
}

// looks returns the rules by which the inputs of modalities count as absent.
func looks(m *modelpkg.Model, set slo.Modalities) string {
	var list []string
	for _, in := range m.Inputs {
		if set.Has(1<<in.Modality) && in.Absent.Kind != modelpkg.AbsentNever {
			list = append(list, in.Name+": "+string(in.Absent.Kind))
		}
	}
	return strings.Join(list, ", ")
}

// runs describes to the engine what the items carry; nil: all carry the same.
func (c carried) runs(choice slo.Modalities) (runs []slo.Carried) {
	if c.items == nil || c.every == c.union {
		return nil
	}
	for _, set := range c.items {
		if n := len(runs); n > 0 && runs[n-1].Present == set {
			runs[n-1].Items++
			continue
		}
		runs = append(runs, slo.Carried{Items: 1, Present: set, Choice: choice})
	}
	return runs
}

// told returns the parameters of an answer that say which modalities counted as absent:
// "absent": "audio" for all items, "audio:0-3;text:5" for some.
func (c carried) told(m *modelpkg.Model) oip.Parameters {
	if c.absent == nil {
		return nil
	}
	return oip.Parameters{{Name: "absent", Value: oip.String(itemsByModality(m, c.absent))}}
}

// explained adds to the error of an infeasible floor which sent modalities counted as
// absent.
func (c carried) explained(m *modelpkg.Model, err error) error {
	told, absent := c.told(m).Get("absent")
	if e, ok := errors.AsType[*slo.Error](err); ok && absent && e.Kind == slo.KindInfeasible {
		e.Err = fmt.Errorf("%w; what was sent counts as absent: %s", e.Err, told.Text())
	}
	return err
}
