package media

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// tokenTextMax bounds a text that is made into ids: some 200,000 words, far more than models
// take. A tokenizer reads it all in a second, and cannot be stopped.
const tokenTextMax = 1 << 20

// encodeTokens makes ids of a text: as many as the input has room for, filled up where its
// length is fixed. The mask has 1 for each id and 0 for what fills up. If longer texts are
// to be refused, there is one id more than the input has room for.
func encodeTokens(in modelpkg.Input, file []byte) (n int, ids, mask []byte, err *slo.Error) {
	if len(file) > tokenTextMax {
		return 0, nil, nil, slo.E("", slo.KindTooLarge, "a text of %d bytes; ids are made of at most %d", len(file), tokenTextMax)
	}
	if !utf8.Valid(file) {
		return 0, nil, nil, slo.E("", slo.KindInvalid, "the text is not UTF-8")
	}
	most := in.Shape[0]
	if most < 0 {
		most = in.Max
		if in.Buckets != nil && !in.Buckets.Cut {
			most++
		}
	}
	list := in.Tokens.Encode(string(file), int(most))
	own := len(list)
	if in.Shape[0] < 0 && own == 0 {
		return 0, nil, nil, slo.E("", slo.KindInvalid, "the text has no tokens")
	}
	for int64(len(list)) < in.Shape[0] {
		list = append(list, in.Tokens.Pad())
	}
	size := in.DType.Size()
	ids, mask = make([]byte, 0, len(list)*size), make([]byte, len(list)*size)
	for i, id := range list {
		ids = append(ids, binary.LittleEndian.AppendUint64(nil, uint64(id))[:size]...)
		if i < own {
			mask[i*size] = 1
		}
	}
	return len(list), ids, mask, nil
}

// besideIDs are the inputs that go with the ids of a text, by index into the model's
// inputs.
func besideIDs(in *modelpkg.Input, mask []byte) map[int][]byte {
	beside := map[int][]byte{}
	if in.Tokens.Mask >= 0 {
		beside[in.Tokens.Mask] = mask
	}
	if in.Tokens.Types >= 0 {
		beside[in.Tokens.Types] = make([]byte, len(mask))
	}
	return beside
}

// tokens is what Decoder.file does with a text that becomes ids.
func tokens(in *modelpkg.Input, file []byte) (t tensor.Tensor, beside map[int][]byte, err error) {
	n, ids, mask, fault := encodeTokens(*in, file)
	if fault != nil {
		return t, nil, fault
	}
	return tensor.Tensor{Name: in.Name, DType: in.DType, Shape: tensor.Shape{1, int64(n)}, Data: ids}, besideIDs(in, mask), nil
}
