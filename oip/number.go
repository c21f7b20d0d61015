package oip

import (
	"math"
	"strconv"
)

// decimal is a number taken apart: (-1)^neg * mantissa * 10^exp. more says that
// the mantissa has more digits than mantissa holds. The reader of plain numbers
// and the conversion take it by its address: to copy it takes a third of the time
// that a number takes.
type decimal struct {
	mantissa uint64
	exp      int
	neg      bool
	more     bool
	whole    bool // neither fraction nor exponent was written
}

// A mantissa below mantissaMax takes any further digit, mantissaMax itself only
// one up to lastDigit.
const (
	mantissaMax = math.MaxUint64 / 10
	lastDigit   = math.MaxUint64 % 10
)

// number reads a number by the grammar of JSON and returns its text.
func (r *reader) number() ([]byte, error) {
	start := r.pos
	_, err := r.decimal()
	return r.buf[start:r.pos], err
}

// decimal reads a number by the grammar of JSON.
func (r *reader) decimal() (d decimal, err error) {
	r.space()
	if r.pos < len(r.buf) && r.buf[r.pos] == '-' {
		d.neg = true
		r.pos++
	}
	d.whole = true
	switch {
	case r.pos < len(r.buf) && r.buf[r.pos] == '0':
		r.pos++
	case !r.digits(&d, 0):
		return d, r.notNumber()
	}
	if r.pos < len(r.buf) && r.buf[r.pos] == '.' {
		r.pos++
		d.whole = false
		if !r.digits(&d, -1) {
			return d, r.unexpected("a digit")
		}
	}
	if r.pos < len(r.buf) && r.buf[r.pos]|0x20 == 'e' {
		r.pos++
		d.whole = false
		if err := r.exponent(&d); err != nil {
			return d, err
		}
	}
	if r.pos < len(r.buf) && !delimiter(r.buf[r.pos]) {
		return d, r.unexpected("the end of a number")
	}
	return d, nil
}

// plain reads a number of at most digitsMax digits without exponent, as nearly
// all are written, in half the time of decimal. For any other text it reads nothing and
// leaves the number to decimal.
func (r *reader) plain(d *decimal) bool {
	const digitsMax = 19 // fit a uint64
	buf, i := r.buf, r.pos
	neg := i < len(buf) && buf[i] == '-'
	if neg {
		i++
	}
	first := i
	var v uint64
	for ; i < len(buf) && buf[i]-'0' <= 9; i++ {
		v = v*10 + uint64(buf[i]-'0')
	}
	digits, after := i-first, 0 // the point
	if digits == 0 || digits > 1 && buf[first] == '0' {
		return false
	}
	whole := i == len(buf) || buf[i] != '.'
	if !whole {
		i++
		point := i
		for ; i < len(buf) && buf[i]-'0' <= 9; i++ {
			v = v*10 + uint64(buf[i]-'0')
		}
		if after = i - point; after == 0 {
			return false
		}
	}
	if digits+after > digitsMax || i < len(buf) && !delimiter(buf[i]) {
		return false
	}
	*d = decimal{mantissa: v, exp: -after, neg: neg, whole: whole}
	r.pos = i
	return true
}

// notNumber explains NaN and Infinity, which are no numbers in JSON.
func (r *reader) notNumber() error {
	if r.pos < len(r.buf) && (r.buf[r.pos] == 'N' || r.buf[r.pos] == 'I') {
		return r.fail("%q is not a number in JSON: send the tensor in binary form", r.token())
	}
	return r.unexpected("a number")
}

// digits reads one or more digits into the mantissa; each that it takes changes
// the exponent by step, and each that it has no room for by step+1.
func (r *reader) digits(d *decimal, step int) bool {
	start := r.pos
	for r.pos < len(r.buf) {
		c := r.buf[r.pos] - '0'
		if c > 9 {
			break
		}
		if d.mantissa < mantissaMax || d.mantissa == mantissaMax && c <= lastDigit && !d.more {
			d.mantissa = d.mantissa*10 + uint64(c)
			d.exp += step
		} else {
			d.more = true
			d.exp += step + 1
		}
		r.pos++
	}
	return r.pos > start
}

// exponentMax is the largest exponent that is told apart from larger ones: no body has
// enough digits to bring such a number back into the range of a float.
const exponentMax = 1 << 40

func (r *reader) exponent(d *decimal) error {
	neg := false
	if r.pos < len(r.buf) && (r.buf[r.pos] == '+' || r.buf[r.pos] == '-') {
		neg = r.buf[r.pos] == '-'
		r.pos++
	}
	start, exp := r.pos, 0
	for r.pos < len(r.buf) && r.buf[r.pos]-'0' <= 9 {
		if exp < exponentMax {
			exp = exp*10 + int(r.buf[r.pos]-'0')
		}
		r.pos++
	}
	if r.pos == start {
		return r.unexpected("a digit")
	}
	if neg {
		exp = -exp
	}
	d.exp += exp
	return nil
}

// powersOf10 are those that a float64 holds exactly.
var powersOf10 = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
	1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// float returns the number nearest to d in the given size, 32 or 64 bits. text
// is the number as written. ok is false where it is out of range.
func (d *decimal) float(text []byte, bits int) (f float64, ok bool) {
	if bits == 32 {
		f, ok = d.near32()
	} else {
		f, ok = d.exact()
	}
	if ok {
		return f, true
	}
	f, err := strconv.ParseFloat(string(text), bits)
	return f, err == nil
}

// exact computes d in one rounding step: mantissa and power of ten are both
// exact in a float64, so their product or quotient is the nearest float64.
func (d *decimal) exact() (float64, bool) {
	if d.more || d.mantissa > 1<<53 || d.exp < -22 || d.exp > 22 {
		return 0, false
	}
	return d.scaled(), true
}

// scaled is the mantissa times its power of ten, which a float64 holds exactly.
func (d *decimal) scaled() float64 {
	f := float64(d.mantissa)
	if d.exp < 0 {
		f /= powersOf10[-d.exp]
	} else {
		f *= powersOf10[d.exp]
	}
	if d.neg {
		f = -f
	}
	return f
}

// near32 computes a float64 whose float32 is the one nearest to d. Mantissa and
// product are rounded once each, which together is less than slack units of the
// float64's last place. That decides between two float32 only where f lies that
// close to the middle between them, and there ok is false. Programs that print a
// float32 as the float64 it becomes write such mantissas, of 17 digits. (The
// exponents exclude the ranges where a float32 has fewer bits or is infinite.)
func (d *decimal) near32() (f float64, ok bool) {
	const (
		rest  = 1<<29 - 1 // the bits of a float64's mantissa that a float32 lacks
		half  = 1 << 28
		slack = 4
	)
	if d.more || d.exp < -22 || d.exp > 18 {
		return 0, false
	}
	f = d.scaled()
	low := math.Float64bits(f) & rest
	return f, low < half-slack || low > half+slack
}
