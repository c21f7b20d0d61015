package modelpkg

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// decoder walks through protobuf messages in a stream. protowire decodes slices, but an
// ONNX file may have 2 GB of weights between two small fields. So decoder skips in the
// stream what its caller does not ask for.
type decoder struct {
	r     *bufio.Reader
	pos   int64
	end   int64 // of the innermost message
	depth int
}

// errOverrun means that a length goes beyond the enclosing message.
var errOverrun = errors.New("a length goes beyond its message")

// fields visits every field up to the end of the current message. visit must consume
// the field's value.
func (d *decoder) fields(visit func(protowire.Number, protowire.Type) error) error {
	for d.pos < d.end {
		tag, err := d.uvarint()
		if err != nil {
			return err
		}
		number, kind := protowire.DecodeTag(tag)
		if number < protowire.MinValidNumber {
			return fmt.Errorf("field number %d at byte %d", number, d.pos)
		}
		if err := visit(number, kind); err != nil {
			return err
		}
	}
	return nil
}

// message enters the message that is the current field's value.
func (d *decoder) message(visit func(protowire.Number, protowire.Type) error) error {
	n, err := d.length()
	if err != nil {
		return err
	}
	if d.depth == onnxDepthMax {
		return errors.New("messages are nested too deep")
	}
	outer := d.end
	d.end = d.pos + n
	d.depth++
	err = d.fields(visit)
	d.depth--
	d.end = outer
	return err
}

func (d *decoder) skip(kind protowire.Type) error {
	switch kind {
	case protowire.VarintType:
		_, err := d.uvarint()
		return err
	case protowire.Fixed32Type:
		return d.discard(4)
	case protowire.Fixed64Type:
		return d.discard(8)
	case protowire.BytesType:
		n, err := d.length()
		if err != nil {
			return err
		}
		return d.discard(n)
	}
	return fmt.Errorf("wire type %d at byte %d", kind, d.pos)
}

// text reads a name.
func (d *decoder) text() (string, error) {
	n, err := d.length()
	if err != nil {
		return "", err
	}
	if n > onnxNameMax {
		return "", fmt.Errorf("a name of %d bytes", n)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(d.r, b)
	d.pos += n
	return string(b), err
}

func (d *decoder) varint() (int64, error) {
	v, err := d.uvarint()
	return int64(v), err
}

// uvarint reads one variable-length number within the current message.
func (d *decoder) uvarint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		if d.pos >= d.end {
			return 0, errOverrun
		}
		b, err := d.r.ReadByte()
		if err != nil {
			return 0, io.ErrUnexpectedEOF
		}
		d.pos++
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, fmt.Errorf("a number of more than 64 bits at byte %d", d.pos)
}

// length reads the length of the current field and checks that it fits.
func (d *decoder) length() (int64, error) {
	n, err := d.uvarint()
	if err != nil {
		return 0, err
	}
	if n > uint64(d.end-d.pos) {
		return 0, errOverrun
	}
	return int64(n), nil
}

func (d *decoder) discard(n int64) error {
	if n > d.end-d.pos {
		return errOverrun
	}
	skipped, err := d.r.Discard(int(n))
	d.pos += int64(skipped)
	return err
}
