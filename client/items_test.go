package client

import (
	"slices"
	"testing"
)

// TestItemLists checks that lists of items are read as they are written.
func TestItemLists(t *testing.T) {
	for text, list := range map[string][]int{"0": {0}, "0-2,5": {0, 1, 2, 5}, "1,3,5": {1, 3, 5}, "7-8,10-11": {7, 8, 10, 11}} {
		got, err := readItems(text)
		if err != nil || !slices.Equal(got, list) || showItems(list) != text {
			t.Errorf("%s is read as %v and %v is written as %s, %v", text, got, list, showItems(list), err)
		}
	}
	for _, text := range []string{"", "a", "-1", "2-1", "0-4000000000"} {
		if got, err := readItems(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}
