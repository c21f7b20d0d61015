package inference

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mosel-serve/mosel/oip"
)

// Inspect counts what a serialized ModelInferRequest holds before it is
// unmarshaled, and returns an upper bound of the memory that it takes once it is
// unmarshaled and decoded. A server needs both against messages that are small on
// the wire and large in memory: an empty input takes two bytes there and more than
// a hundred here, so that the bound on the size of a message does not bound the
// memory it takes. Raw contents take what they take on the wire; elements by type
// can take several times that. It looks at no tensor's elements, so its cost is
// that of walking over a few dozen fields; and it leaves all else that may be wrong
// to the unmarshaler.
//
// Errors wrap oip.ErrTooLarge.
func Inspect(wire []byte, lim oip.Limits) (memory int64, err error) {
	memory = int64(len(wire))
	var params, inputs, outputs, raw int
	err = walk(wire, func(field protowire.Number, content []byte) error {
		switch field {
		case 4:
			return above(&params, lim.Parameters, "parameters")
		case 5:
			if err := above(&inputs, lim.Tensors, "inputs"); err != nil {
				return err
			}
			growth, err := inspectTensor(content, lim)
			memory += growth
			return err
		case 6:
			if err := above(&outputs, lim.Tensors, "outputs"); err != nil {
				return err
			}
			return checkOutput(content, lim)
		case 7:
			return above(&raw, lim.Tensors, "raw contents")
		}
		return nil
	})
	return memory, err
}

// RequestID is the id in a serialized ModelInferRequest, for the answer to a request that
// is refused before it is unmarshaled; "" if there is none or it is invalid.
func RequestID(wire []byte, lim oip.Limits) (id string) {
	_ = walk(wire, func(field protowire.Number, content []byte) error {
		if field == 3 {
			id = ""
			if len(content) <= lim.NameBytes && utf8.Valid(content) {
				id = string(content)
			}
		}
		return nil
	})
	return id
}

// inspectTensor counts what an input holds, and says by how much its contents
// grow in memory at most.
func inspectTensor(wire []byte, lim oip.Limits) (growth int64, err error) {
	var dims, params int
	err = walk(wire, func(field protowire.Number, content []byte) error {
		switch field {
		case 3:
			if len(content) > lim.Rank*10 { // packed: ten bytes a number at most
				return fmt.Errorf("a shape of %d bytes, the bound is %d dimensions: %w", len(content), lim.Rank, oip.ErrTooLarge)
			}
			return above(&dims, lim.Rank, "pieces of a shape")
		case 4:
			return above(&params, lim.Parameters, "parameters of an input")
		case 5:
			growth += int64(len(content)) * growthPerByte(content)
		}
		return nil
	})
	return growth, err
}

// memoryPerByte is by how much a byte of contents grows at most, as a list of Go
// and as a tensor, by the field of InferTensorContents: a small number takes a byte
// here and eight there, twice.
var memoryPerByte = [...]int64{1: 2, 2: 8, 3: 16, 4: 8, 5: 16, 6: 3, 7: 3, 8: 26}

// growthPerByte is the most that memoryPerByte has for any list of the contents.
func growthPerByte(contents []byte) (most int64) {
	_ = walk(contents, func(kind protowire.Number, _ []byte) error {
		if int(kind) < len(memoryPerByte) {
			most = max(most, memoryPerByte[kind])
		}
		return nil
	})
	return most
}

// checkOutput counts what a requested output holds.
func checkOutput(wire []byte, lim oip.Limits) error {
	var params int
	return walk(wire, func(field protowire.Number, _ []byte) error {
		if field == 2 {
			return above(&params, lim.Parameters, "parameters of an output")
		}
		return nil
	})
}

// above counts one more and fails when there are too many.
func above(count *int, bound int, what string) error {
	if *count++; *count > bound {
		return fmt.Errorf("more than %d %s: %w", bound, what, oip.ErrTooLarge)
	}
	return nil
}

// walk visits the fields of a message, with the content of those that have a length. It
// ends where the message is malformed; unmarshaling fails there too and returns the
// error.
func walk(wire []byte, visit func(field protowire.Number, content []byte) error) error {
	for len(wire) > 0 {
		field, kind, n := protowire.ConsumeTag(wire)
		if n < 0 {
			return nil
		}
		var content []byte
		size := 0
		if kind == protowire.BytesType {
			content, size = protowire.ConsumeBytes(wire[n:])
		} else {
			size = protowire.ConsumeFieldValue(field, kind, wire[n:])
		}
		if size < 0 {
			return nil
		}
		if err := visit(field, content); err != nil {
			return err
		}
		wire = wire[n+size:]
	}
	return nil
}
