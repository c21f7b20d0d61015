package oip

import "testing"

// TestItemLists checks that lists of items are shown as they are read.
func TestItemLists(t *testing.T) {
	for _, text := range []string{"0", "0-6", "0-6,9", "1,3,5", "0-1,3-4,99"} {
		list, err := ParseItems(text, 100)
		if err != nil || FormatItems(list) != text {
			t.Errorf("%s is read as %v and shown as %s, %v", text, list, FormatItems(list), err)
		}
	}
	for _, text := range []string{"", ",", "-1", "1-", "2-1", "a", "0,0", "0-3,2", "1.5", "100", "0x1"} {
		if list, err := ParseItems(text, 100); err == nil {
			t.Errorf("%q is read as %v", text, list)
		}
	}
}
