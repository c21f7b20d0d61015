// Package media converts files to model inputs: a PNG, JPEG or WebP image, a WAV
// or FLAC recording or a text becomes the tensor that an input declares. It is for people
// who try a model from the command line, and for clients that send files in requests
// (Decoder). It only converts a file to the declared size, rate and
// element type; models do all other preprocessing.
//
// Files are not trusted: every reader checks a bound before it allocates, and never
// panics.
package media

import (
	"context"
	"encoding/binary"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

const (
	// FileBytesMax bounds the size of a file. It allows 7 minutes of stereo 24-bit sound
	// at 96 kHz, or a PNG of a 100-megapixel photograph.
	FileBytesMax = 256 << 20
	// elementsMax bounds the tensor made from one file, because a remote model may
	// declare any size: 16 Mi elements are a 2300x2300 RGB image or 5 minutes at 48 kHz.
	elementsMax = 16 << 20
)

// Kinds are the kinds of file that are read as a medium, for people.
func Kinds(media modelpkg.Media) string {
	switch media {
	case modelpkg.MediaImage:
		return "PNG,JPEG,WebP"
	case modelpkg.MediaAudio:
		return "WAV,FLAC"
	case modelpkg.MediaText:
		return "UTF-8"
	default:
		return ""
	}
}

// Encode converts a file, by the media type of the input, to one item: a tensor of the
// declared element type and shape with a first dimension of 1. Dynamic dimensions get
// the file's size. Errors are slo.Errors: KindInvalid for a file that cannot be read,
// KindTooLarge for a file beyond a bound, KindUnsupported for an input that this media
// type cannot fill.
func Encode(in modelpkg.Input, file []byte) (tensor.Tensor, error) {
	return encode(in, file, bounds{context.Background(), workBytesMax, nil})
}

// bounds are those of making one input of one file.
type bounds struct {
	ctx   context.Context
	bytes int64                   // of memory
	take  func(bytes int64) error // waits for so much memory; nil: there is enough
}

// reserve takes the memory that a file needs.
func (b bounds) reserve(bytes int64) *slo.Error {
	if b.take == nil {
		return nil
	}
	if err := b.take(bytes); err != nil {
		return slo.E("", slo.KindCancelled, "%w", err)
	}
	return nil
}

func encode(in modelpkg.Input, file []byte, b bounds) (tensor.Tensor, error) {
	op := "read " + string(in.Media) + " for input " + in.Name
	if len(file) > FileBytesMax {
		return tensor.Tensor{}, slo.E(op, slo.KindTooLarge, "the file has %d bytes; the bound is %d", len(file), FileBytesMax)
	}
	var shape tensor.Shape
	var data []byte
	var err *slo.Error
	switch in.Media {
	case modelpkg.MediaImage:
		shape, data, err = encodeImage(in.Spec, file, b)
	case modelpkg.MediaAudio:
		shape, data, err = encodeAudio(in, file, b)
	case modelpkg.MediaText:
		shape, data, err = encodeText(in, file)
	case modelpkg.MediaNone:
		err = slo.E("", slo.KindUnsupported, "the model does not declare a media type for this input")
	default:
		err = slo.E("", slo.KindUnsupported, "unknown media %q", in.Media)
	}
	if err != nil {
		err.Op = op
		return tensor.Tensor{}, err
	}
	item := append(tensor.Shape{1}, shape...)
	t, terr := tensor.New(in.Name, in.DType, item, data)
	if terr != nil {
		return tensor.Tensor{}, slo.E(op, slo.KindInternal, "%w", terr)
	}
	return t, nil
}

// encodeText cuts or zero-pads the UTF-8 bytes of a text to the declared length, or
// gives the whole text as one element.
func encodeText(in modelpkg.Input, file []byte) (tensor.Shape, []byte, *slo.Error) {
	if in.Tokens != nil {
		n, ids, _, err := encodeTokens(in, file)
		return tensor.Shape{int64(n)}, ids, err
	}
	spec := in.Spec
	single := spec.DType == tensor.Bytes && (len(spec.Shape) == 0 || len(spec.Shape) == 1 && spec.Shape[0] == 1)
	if !single && (spec.DType != tensor.Uint8 || len(spec.Shape) != 1) {
		return nil, nil, slo.E("", slo.KindUnsupported, "a text fills UINT8 [length], or BYTES [] or [1], not %v %v", spec.DType, spec.Shape)
	}
	if !utf8.Valid(file) {
		return nil, nil, slo.E("", slo.KindInvalid, "the text is not UTF-8")
	}
	if single {
		return spec.Shape, append(binary.LittleEndian.AppendUint32(nil, uint32(len(file))), file...), nil
	}
	n, err := length(spec.Shape[0], len(file))
	if err != nil {
		return nil, nil, err
	}
	data := make([]byte, n)
	copy(data, file)
	return tensor.Shape{int64(n)}, data, nil
}

// length returns the declared length of a one-dimensional input, or own if the
// dimension is dynamic.
func length(declared int64, own int) (int, *slo.Error) {
	if declared < 0 {
		declared = int64(own)
	}
	if declared == 0 {
		return 0, slo.E("", slo.KindInvalid, "the file is empty")
	}
	if declared > elementsMax {
		return 0, slo.E("", slo.KindTooLarge, "an input of %d elements; at most %d can be made from a file", declared, elementsMax)
	}
	return int(declared), nil
}
