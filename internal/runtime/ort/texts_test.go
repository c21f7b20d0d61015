package ort

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

func strs(t *testing.T, texts ...string) []byte {
	t.Helper()
	x, err := tensor.Strings("", tensor.Shape{int64(len(texts))}, texts)
	if err != nil {
		t.Fatal(err)
	}
	return x.Data
}

// TestTexts compares what a graph does with texts: of any bytes, empty, and long.
func TestTexts(t *testing.T) {
	in := load(t, texts(t))
	long := strings.Repeat("x", 100_000)
	items := []runtime.Item{
		{strs(t, "a\x00b", ""), strs(t, "")},
		{strs(t, long, "\xff\xfe"), strs(t, long)},
		{strs(t, "héllo", "世界"), strs(t, "世界")},
	}
	out, err := in.Run(t.Context(), 0, items)
	if err != nil {
		t.Fatal(err)
	}
	for i, item := range items {
		if got := out[0].Row(i); !bytes.Equal(got, item[0]) {
			t.Errorf("item %d: y is %.60q, want %.60q", i, got, item[0])
		}
		if got, want := out[2].Row(i), append(append([]byte{}, item[1]...), item[0]...); !bytes.Equal(got, want) {
			t.Errorf("item %d: both is %.60q, want %.60q", i, got, want)
		}
	}
	if want := []byte{0, 1, 1, 0, 0, 1}; !bytes.Equal(out[1].Data, want) {
		t.Errorf("same is %v, want %v", out[1].Data, want)
	}
}

// TestTextsOfOtherSizes runs batches of other sizes after each other, and one with
// several free texts.
func TestTextsOfOtherSizes(t *testing.T) {
	in := load(t, texts(t))
	for n := range 4 {
		free := strs(t, []string{"p", "q", "", "r"}[:n+1]...)
		var items []runtime.Item
		for range 4 - n {
			items = append(items, runtime.Item{strs(t, "p", "z"), free})
		}
		out, err := in.Run(t.Context(), 0, items)
		if err != nil {
			t.Fatal(err)
		}
		if want := (tensor.Shape{int64(4 - n), int64(n + 3)}); !out[2].Shape.Equal(want) {
			t.Errorf("both has shape %v, want %v", out[2].Shape, want)
		}
	}
}
