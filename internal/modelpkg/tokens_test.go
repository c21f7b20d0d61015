package modelpkg

import (
	"slices"
	"strings"
	"testing"
)

// TestTokenizerProblems checks what a package may say of tokenizers, and that the error
// stands where it says so.
func TestTokenizerProblems(t *testing.T) {
	const image, gain = "datatype: UINT8, shape: [2, 2], media: image}", "datatype: FP32, shape: []}"
	for _, c := range []struct{ old, text, want string }{
		{image, "datatype: UINT8, shape: [2, 2], media: image, tokenizer: t.json}", `10:80: tokenizer is for an input with media: text`},
		{image, "datatype: UINT8, shape: [4], media: text, tokenizer: t.json}", `10:76: tokenizer needs INT64 or INT32 [length], not UINT8 [4]`},
		{image, "datatype: INT64, shape: [4], media: text, tokenizer: ../t.json}", `10:76: the path "../t.json" has ".."; it must stay inside the package`},
		{image, "datatype: INT64, shape: [4], media: text, tokenizer: none.json}", `10:76: tokenizer none.json: no such file`},
		{image, "datatype: INT64, shape: [4], media: text, tokenizer: mosel.yaml}", `10:76: tokenizer mosel.yaml: not a tokenizer.json`},
		{image, "datatype: INT64, shape: [4], media: text, tokenizer: t.json, mask: none}", `10:90: mask: the model has no input "none"`},
		{image, "datatype: INT64, shape: [4], media: text, tokenizer: t.json, mask: image}", `10:90: mask: image must be another input of the same modality, with a batch`},
		{image, "datatype: INT64, shape: [4], media: text, tokenizer: t.json, types: gain}", `10:91: types: gain must be another input of the same modality, with a batch`},
		{gain, "datatype: FP32, shape: [], mask: wave}", `14:55: mask is for an input with a tokenizer`},
	} {
		if _, got := declared(t, c.old, c.text); !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, c.want) }) {
			t.Errorf("%s\n got %s\nwant %s", c.text, strings.Join(got, "\n     "), c.want)
		}
	}
}
