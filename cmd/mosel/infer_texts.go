package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// textsInput makes one item of BYTES: of a text, or of several in a JSON list.
func textsInput(in modelpkg.Input, content string) (tensor.Tensor, error) {
	texts := []string{content}
	if strings.HasPrefix(content, "[") {
		if err := json.Unmarshal([]byte(content), &texts); err != nil {
			return tensor.Tensor{}, usageError{fmt.Errorf("input %s: several texts are a JSON list, such as [\"a\", \"b\"]: %w", in.Name, err)}
		}
	}
	shape := slices.Clone(in.Shape)
	known := 1
	for _, d := range shape {
		if d > 0 {
			known *= int(min(d, int64(len(texts)+1)))
		}
	}
	if i := slices.Index(shape, -1); i >= 0 {
		shape[i] = int64(len(texts) / max(known, 1))
	}
	if n, err := shape.Elements(); err != nil || n != len(texts) || n == 0 {
		return tensor.Tensor{}, usageError{fmt.Errorf("input %s takes BYTES %v, and %d texts were given: give a JSON list of texts", in.Name, in.Shape, len(texts))}
	}
	if !in.Unbatched {
		shape = append(tensor.Shape{1}, shape...)
	}
	return tensor.Strings(in.Name, shape, texts)
}
