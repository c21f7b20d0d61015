package oip

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// shownMax is how much of an offending text an error shows.
const shownMax = 40

// reader reads JSON text once, from the beginning to the end. Its methods leave pos after
// what they read; after an error pos has no meaning.
type reader struct {
	buf []byte
	pos int
	lim Limits
	// nulls allows null for a floating-point number, which answers have for NaN.
	nulls bool
}

// fail makes an error with the position in the text.
func (r *reader) fail(format string, args ...any) error {
	return fmt.Errorf("JSON at byte %d: %w", r.pos, fmt.Errorf(format, args...))
}

// unexpected is the error of text that is not what is wanted.
func (r *reader) unexpected(want string) error {
	if r.pos >= len(r.buf) {
		return r.fail("ends where %s should be", want)
	}
	return r.fail("%q stands where %s should be", r.token(), want)
}

// token shows the text at pos up to the next delimiter, or the delimiter.
func (r *reader) token() string {
	end := r.pos + 1
	if delimiter(r.buf[r.pos]) {
		return string(r.buf[r.pos:end])
	}
	for end < len(r.buf) && end-r.pos < shownMax && !delimiter(r.buf[end]) {
		end++
	}
	return string(r.buf[r.pos:end])
}

// delimiters end a number or a word.
var delimiters = [256]bool{' ': true, '\t': true, '\r': true, '\n': true, ',': true, ':': true,
	'[': true, ']': true, '{': true, '}': true, '"': true}

func delimiter(c byte) bool { return delimiters[c] }

// space skips white space.
func (r *reader) space() {
	for r.pos < len(r.buf) {
		switch r.buf[r.pos] {
		case ' ', '\n', '\r', '\t':
			r.pos++
		default:
			return
		}
	}
}

// peek returns the next byte that is not white space, 0 at the end.
func (r *reader) peek() byte {
	r.space()
	if r.pos < len(r.buf) {
		return r.buf[r.pos]
	}
	return 0
}

// accept skips c if it comes next and reports whether it did.
func (r *reader) accept(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.pos++
	return true
}

// word skips a literal such as null if it comes next.
func (r *reader) word(w string) bool {
	r.space()
	end := r.pos + len(w)
	if end > len(r.buf) || string(r.buf[r.pos:end]) != w || end < len(r.buf) && !delimiter(r.buf[end]) {
		return false
	}
	r.pos = end
	return true
}

// end checks that only white space is left.
func (r *reader) end() error {
	if r.space(); r.pos != len(r.buf) {
		return r.unexpected("the end")
	}
	return nil
}

// object calls field for every member; field reads the value. The key is valid
// during the call.
func (r *reader) object(what string, field func(key []byte) error) error {
	if !r.accept('{') {
		return r.unexpected(what + " (an object)")
	}
	if r.accept('}') {
		return nil
	}
	for {
		key, err := r.text("a name")
		if err != nil {
			return err
		}
		if !r.accept(':') {
			return r.unexpected("':'")
		}
		if err := field(key); err != nil {
			return err
		}
		if r.accept('}') {
			return nil
		}
		if !r.accept(',') {
			return r.unexpected("',' or '}'")
		}
	}
}

// fields reads an object. known returns the bit of a member, 0 for one to ignore, and read
// reads its value. A member that is null counts as missing; one that is given twice is
// an error. It returns the bits of all members that were there.
func (r *reader) fields(what string, known func(key []byte) int, read func(field int) error) (seen int, err error) {
	err = r.object(what, func(key []byte) error {
		field := known(key)
		switch {
		case field == 0:
			return r.ignore()
		case r.word("null"):
			return nil
		case seen&field != 0:
			return r.fail("%q is given twice", key)
		}
		seen |= field
		return read(field)
	})
	return seen, err
}

// array calls element for every element; element reads it.
func (r *reader) array(what string, element func(i int) error) error {
	if !r.accept('[') {
		return r.unexpected(what + " (an array)")
	}
	if r.accept(']') {
		return nil
	}
	for i := 0; ; i++ {
		if err := element(i); err != nil {
			return err
		}
		if r.accept(']') {
			return nil
		}
		if !r.accept(',') {
			return r.unexpected("',' or ']'")
		}
	}
}

// text reads a string and returns its content: a view of the text where there
// is no escape in it. The content is valid UTF-8.
func (r *reader) text(what string) ([]byte, error) {
	if !r.accept('"') {
		return nil, r.unexpected(what + " (a string)")
	}
	start := r.pos
	for ; r.pos < len(r.buf); r.pos++ {
		switch c := r.buf[r.pos]; {
		case c == '"':
			content := r.buf[start:r.pos]
			if !utf8.Valid(content) {
				r.pos = start
				return nil, r.fail("a string is not UTF-8: send bytes in binary form")
			}
			r.pos++
			return content, nil
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return nil, r.fail("a string holds the control character %#02x", c)
		}
	}
	return nil, r.unexpected("the end of a string")
}

// escaped reads on from the first escape of a string that began at start.
func (r *reader) escaped(start int) ([]byte, error) {
	content := append(make([]byte, 0, 2*(r.pos-start)+16), r.buf[start:r.pos]...)
	for r.pos < len(r.buf) {
		c := r.buf[r.pos]
		r.pos++
		switch {
		case c == '"':
			if !utf8.Valid(content) {
				return nil, r.fail("a string is not UTF-8: send bytes in binary form")
			}
			return content, nil
		case c == '\\':
			ch, err := r.escape()
			if err != nil {
				return nil, err
			}
			content = utf8.AppendRune(content, ch)
		case c < ' ':
			return nil, r.fail("a string holds the control character %#02x", c)
		default:
			content = append(content, c)
		}
	}
	return nil, r.unexpected("the end of a string")
}

// escape reads the rest of an escape sequence after its backslash.
func (r *reader) escape() (rune, error) {
	if r.pos >= len(r.buf) {
		return 0, r.unexpected("an escape")
	}
	c := r.buf[r.pos]
	r.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return r.unicode()
	}
	r.pos--
	return 0, r.unexpected("an escape")
}

// unicode reads the digits of \uXXXX, and of the second half of a pair.
func (r *reader) unicode() (rune, error) {
	first, err := r.hex4()
	if err != nil || !utf16.IsSurrogate(first) {
		return first, err
	}
	if r.pos+2 <= len(r.buf) && r.buf[r.pos] == '\\' && r.buf[r.pos+1] == 'u' {
		r.pos += 2
		second, err := r.hex4()
		if err != nil {
			return 0, err
		}
		if ch := utf16.DecodeRune(first, second); ch != utf8.RuneError {
			return ch, nil
		}
	}
	return 0, r.fail(`\u%04x is half of a surrogate pair`, first)
}

func (r *reader) hex4() (rune, error) {
	if r.pos+4 > len(r.buf) {
		return 0, r.unexpected("four hexadecimal digits")
	}
	var ch rune
	for _, c := range r.buf[r.pos : r.pos+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, r.unexpected("four hexadecimal digits")
		}
		ch = ch<<4 | rune(c)
	}
	r.pos += 4
	return ch, nil
}

// skip skips any value; depth is how deep it may nest.
func (r *reader) skip(depth int) error {
	if depth <= 0 {
		return r.fail("values nest deeper than %d: %w", r.lim.Depth, ErrTooLarge)
	}
	switch c := r.peek(); {
	case c == '{':
		return r.object("a value", func([]byte) error { return r.skip(depth - 1) })
	case c == '[':
		return r.array("a value", func(int) error { return r.skip(depth - 1) })
	case c == '"':
		_, err := r.text("a value")
		return err
	case c == '-' || '0' <= c && c <= '9':
		_, err := r.number()
		return err
	case r.word("true"), r.word("false"), r.word("null"):
		return nil
	}
	return r.unexpected("a value")
}

// ignore skips the value of an unknown field.
func (r *reader) ignore() error { return r.skip(r.lim.Depth) }

// name reads a string of bounded length. It returns old if that is the same text, so
// that decoding into a used message allocates no new string.
func (r *reader) name(what, old string) (string, error) {
	content, err := r.text(what)
	if err != nil {
		return "", err
	}
	if len(content) > r.lim.NameBytes {
		return "", r.fail("%s has %d bytes, the bound is %d: %w", what, len(content), r.lim.NameBytes, ErrTooLarge)
	}
	if old == string(content) {
		return old, nil
	}
	return string(content), nil
}

// boolean reads true or false.
func (r *reader) boolean(what string) (bool, error) {
	if r.word("true") {
		return true, nil
	}
	if r.word("false") {
		return false, nil
	}
	return false, r.unexpected(what + " (true or false)")
}

// value reads the value of a parameter. It returns old if that is the same.
func (r *reader) value(what string, old Value) (Value, error) {
	var v Value
	var text []byte
	var err error
	switch c := r.peek(); {
	case c == '"':
		v.kind = kindString
		text, err = r.text(what)
	case c == '-' || '0' <= c && c <= '9':
		v.kind = kindNumber
		text, err = r.number()
	case r.word("true"):
		return Bool(true), nil
	case r.word("false"):
		return Bool(false), nil
	case r.word("null"):
		return Null(), nil
	default:
		return Value{}, r.unexpected(what + " (a string, number or boolean)")
	}
	if len(text) > r.lim.ValueBytes {
		return old, r.fail("%s has %d bytes, the bound is %d: %w", what, len(text), r.lim.ValueBytes, ErrTooLarge)
	}
	if err != nil || old.kind == v.kind && old.text == string(text) {
		return old, err
	}
	v.text = string(text)
	return v, nil
}
