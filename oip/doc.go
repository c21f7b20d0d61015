// Package oip encodes and decodes the messages of the Open Inference Protocol v2 over
// REST, in JSON and in the binary extension. The server and the Go client share it, and
// other programs can use it without the rest of mosel.
//
// A request is read with [Request.Decode] and written with [Request.Append], an
// answer with [Response.Decode] and [Response.Append]. Decoding is safe for untrusted
// bytes: it never panics, every size has a bound in [Limits], and a decoded tensor has
// exactly as many bytes as its shape needs.
//
// The reader is written by hand because encoding/json looks at every byte of a
// tensor three times and boxes every number: measured on a 28x28 image it is
// several times slower than one pass straight into the tensor's bytes (the
// benchmarks of this package compare both).
//
// The protocol leaves these choices:
//   - unknown fields, and null for a known field, are ignored; a known field
//     given twice is an error; a request's parameter that is null is kept as [Null],
//     since only the server knows whether it can do without the value;
//   - data is flat, or nested along the shape, in all its dimensions or in some:
//     every array of one depth has as many elements as some of the last
//     dimensions together;
//   - integers are written without fraction or exponent; a boolean is true or false;
//   - strings are UTF-8, escaped surrogates come in pairs; other bytes travel in
//     binary form;
//   - NaN, infinities, FP16 and BF16 exist only in binary form.
package oip

import "errors"

// HeaderLength is the HTTP header that gives, in the binary form, the number of
// bytes of the JSON part at the beginning of the (uncompressed) body.
const HeaderLength = "Inference-Header-Content-Length"

// AllJSON stands for the length of the JSON part when there is no binary part:
// the header [HeaderLength] is absent and all of the body is JSON.
const AllJSON = -1

// Form is how a tensor's elements travel.
type Form uint8

// The forms.
const (
	JSON   Form = iota // as JSON values in the field "data"
	Binary             // as little-endian bytes behind the JSON part
)

// Errors of decoding and encoding name the tensor and the position. Those that are not
// about a malformed message wrap one of these.
var (
	// ErrTooLarge: a bound of Limits was exceeded.
	ErrTooLarge = errors.New("too large")
	// ErrUnsupported: the message uses an extension of the protocol that this package
	// does not support (shared memory, classification).
	ErrUnsupported = errors.New("not supported")
	// ErrNotJSON: a tensor holds values that have no JSON form; the binary form has them.
	ErrNotJSON = errors.New("ask for binary form (binary_data)")
)

// Limits bound the parts of a message. Whoever reads the message from the network must
// bound its size.
type Limits struct {
	Tensors    int // inputs of a request, outputs of either message
	Rank       int // dimensions of a tensor, and so the depth of nested data
	Elements   int // of one tensor
	Parameters int // of a message
	NameBytes  int // of a name, an id, a parameter's name
	ValueBytes int // of a parameter's value
	Depth      int // of nested values in fields that are ignored
}

// DefaultLimits allow any real model: 64 tensors of up to 2^28 elements (1 GiB of FP32).
// A parameter has at most 64 KiB.
func DefaultLimits() Limits {
	return Limits{Tensors: 64, Rank: 16, Elements: 1 << 28, Parameters: 64, NameBytes: 1024, ValueBytes: 64 << 10, Depth: 64}
}
