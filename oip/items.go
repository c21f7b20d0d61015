package oip

import (
	"fmt"
	"strconv"
	"strings"
)

// FormatItems writes a list of items of a request, in ascending order, as
// parameters of mosel's have it: "0-6,9".
func FormatItems(list []int) string {
	var b strings.Builder
	for i := 0; i < len(list); {
		end := i
		for end+1 < len(list) && list[end+1] == list[end]+1 {
			end++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(list[i]))
		if end > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(list[end]))
		}
		i = end + 1
	}
	return b.String()
}

// ParseItems reads what FormatItems writes: ascending item numbers below a bound.
func ParseItems(text string, below int) ([]int, error) {
	var list []int
	for run := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(run), "-")
		first, err := strconv.ParseUint(low, 10, 31)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(high, 10, 31)
		}
		switch {
		case err != nil || last < first:
			return nil, fmt.Errorf("%.40q is not a list of item numbers, such as \"0-6,9\"", text)
		case int(last) >= below:
			return nil, fmt.Errorf("item %d is not below %d, the most items that one request may have", last, below)
		case len(list) > 0 && int(first) <= list[len(list)-1]:
			return nil, fmt.Errorf("item %d stands after item %d: the numbers must ascend", first, list[len(list)-1])
		}
		for item := first; item <= last; item++ {
			list = append(list, int(item))
		}
	}
	return list, nil
}
