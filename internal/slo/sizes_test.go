package slo

import "testing"

func TestSizes(t *testing.T) {
	item := Sizes(0).With(0, 1).With(2, BucketsMax-1)
	for k, want := range []int{1, -1, BucketsMax - 1, -1} {
		if got := item.Bucket(k); got != want {
			t.Errorf("input %d: bucket %d, want %d", k, got, want)
		}
	}
	for _, c := range []struct {
		variant Sizes
		want    bool
	}{
		{0, true}, // it reads no input with buckets
		{Sizes(0).With(0, 1), true},
		{Sizes(0).With(0, 0), false},
		{Sizes(0).With(0, 2), false},
		{Sizes(0).With(1, 0), false}, // the item has no such input
		{Sizes(0).With(2, BucketsMax-1), true},
		{Sizes(0).With(0, 1).With(2, BucketsMax-1), true},
		{Sizes(0).With(0, 1).With(2, 0), false},
		{Sizes(0).With(7, 0), false},
	} {
		if got := item.Suits(c.variant); got != c.want {
			t.Errorf("variant of %x: %v", c.variant, got)
		}
	}
}
