package runtime

import (
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Resolve returns the variants of a model that an instance with these options has, all if
// none are named. Every implementation of Runtime.Load begins with it, so that all
// refuse the same options with the same messages. The error has kind invalid.
func (o Options) Resolve(m *modelpkg.Model) (variants []int, err error) {
	op := "load " + m.Name
	if o.Threads < 1 {
		return nil, slo.E(op, slo.KindInvalid, "%d intra-op threads: at least 1 is needed", o.Threads)
	}
	if o.Variants == nil {
		for v := range m.Variants {
			variants = append(variants, v)
		}
		return variants, nil
	}
	for _, v := range o.Variants {
		if v < 0 || v >= len(m.Variants) {
			return nil, slo.E(op, slo.KindInvalid, "there is no variant %d; the model has %d", v, len(m.Variants))
		}
	}
	return o.Variants, nil
}
