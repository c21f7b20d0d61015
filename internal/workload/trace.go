package workload

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// traceSecondsMax bounds a trace: a week.
const traceSecondsMax = 7 * 24 * 3600

// ReadTrace reads a CSV file with the columns second,requests: the number of items
// that arrive in each second. Seconds are integers in ascending order; missing seconds
// have no items. The counts are multiplied by scale. Errors contain the line.
func ReadTrace(r io.Reader, scale float64) ([]float64, error) {
	if !(scale > 0 && scale <= RateMax) {
		return nil, fmt.Errorf("a scale of %v is not between 0 and %d", scale, RateMax)
	}
	rows := csv.NewReader(r)
	rows.FieldsPerRecord = 2
	rows.ReuseRecord = true
	header, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("the file is not a trace: %w", err)
	}
	if strings.TrimSpace(header[0]) != "second" || strings.TrimSpace(header[1]) != "requests" {
		return nil, fmt.Errorf("line 1: the columns are %q, not second,requests", strings.Join(header, ","))
	}
	var rates []float64
	var start int
	for first := true; ; first = false {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err // names the line
		}
		line, _ := rows.FieldPos(0)
		second, requests, err := traceRow(row)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if first {
			start = second
		}
		at := second - start
		if at < len(rates) || at > traceSecondsMax {
			return nil, fmt.Errorf("line %d: second %d is not after the previous one, or beyond a week", line, second)
		}
		for len(rates) < at {
			rates = append(rates, 0)
		}
		rates = append(rates, requests*scale)
	}
	if len(rates) == 0 {
		return nil, errors.New("the trace has no seconds")
	}
	return rates, nil
}

// traceRow reads one row.
func traceRow(row []string) (second int, requests float64, err error) {
	if second, err = strconv.Atoi(strings.TrimSpace(row[0])); err != nil || second < 0 {
		return 0, 0, fmt.Errorf("%q is not a whole second", row[0])
	}
	requests, err = strconv.ParseFloat(strings.TrimSpace(row[1]), 64)
	if err != nil || !(requests >= 0) || requests > RateMax || math.IsInf(requests, 0) {
		return 0, 0, fmt.Errorf("%q is not a number of requests up to %d", row[1], RateMax)
	}
	return second, requests, nil
}
