package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/oip"
)

// labelledRecord is what a file says of one request.
type labelledRecord struct {
	oip.Feedback
	line int // where it begins
}

// readFeedback reads and checks a file of labels: JSON lines if it begins with "{", else
// CSV. Errors name the file and the line.
func readFeedback(stdin io.Reader, file string) ([]labelledRecord, error) {
	f, err := openFeedback(stdin, file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	read := readFeedbackCSV
	for {
		c, _, err := in.ReadRune()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: there is nothing in it", file)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if c == '\uFEFF' { // a mark that some programs write
			continue
		}
		if c == '{' {
			read = readFeedbackLines
		}
		if err := in.UnreadRune(); err != nil {
			return nil, err
		}
		break
	}
	records, err := read(in)
	if err == nil && len(records) == 0 {
		err = errors.New(" there are no labels in it")
	}
	for i := range records {
		if err != nil {
			break
		}
		if wrong := oip.CheckFeedback([]oip.Feedback{records[i].Feedback}); wrong != nil {
			err = fmt.Errorf("%d: %w", records[i].line, errors.Unwrap(wrong))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s:%w", file, err)
	}
	return records, nil
}

// lineBytesMax bounds a line of JSON: a request of a hundred thousand items.
const lineBytesMax = 4 << 20

// readFeedbackLines reads JSON lines. An error begins with the line's number.
func readFeedbackLines(in io.Reader) ([]labelledRecord, error) {
	var records []labelledRecord
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, lineBytesMax)
	number := 0
	for lines.Scan() {
		number++
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		list, err := oip.DecodeFeedback([]byte(text))
		if wrong, ok := errors.AsType[*oip.FeedbackError](err); ok && len(list) <= 1 {
			err = wrong.Err
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %w", number, err)
		}
		for _, f := range list {
			records = append(records, labelledRecord{f, number})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%d: %w", number+1, err)
	}
	return records, nil
}

// feedbackColumns are the columns that CSV may have.
var feedbackColumns = []string{"id", "label", "score", "sampled"}

// readFeedbackCSV reads CSV with a line of names. Lines with the same id that follow one
// another are the items of one request. An error begins with the line's number.
func readFeedbackCSV(in io.Reader) ([]labelledRecord, error) {
	r := csv.NewReader(in)
	r.TrimLeadingSpace, r.ReuseRecord = true, true
	head, err := r.Read()
	if err != nil {
		return nil, csvError(err)
	}
	columns, err := columnsOf(head)
	if err != nil {
		return nil, fmt.Errorf("1: %w", err)
	}
	var records []labelledRecord
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return nil, csvError(err)
		}
		line, _ := r.FieldPos(0)
		cell := func(name string) string {
			if at, ok := columns[name]; ok {
				return strings.TrimSpace(row[at])
			}
			return ""
		}
		_, scores := columns["score"]
		if records, err = addRow(records, cell, scores, line); err != nil {
			return nil, fmt.Errorf("%d: %w", line, err)
		}
	}
}

// csvError begins an error of the CSV reader with its line.
func csvError(err error) error {
	if p, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("%d: %w", p.Line, p.Err)
	}
	return fmt.Errorf(" %w", err)
}

// columnsOf returns the places of the columns.
func columnsOf(head []string) (map[string]int, error) {
	columns := map[string]int{}
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(name))
		if !slices.Contains(feedbackColumns, name) {
			return nil, fmt.Errorf("the column %q is not known; the first line names the columns: %s", cut(printable(name), 40), strings.Join(feedbackColumns, ", "))
		}
		if _, twice := columns[name]; twice {
			return nil, fmt.Errorf("the column %q is there twice", name)
		}
		columns[name] = i
	}
	_, id := columns["id"]
	_, label := columns["label"]
	_, scored := columns["score"]
	if !id || label == scored {
		return nil, errors.New("there must be a column id, and one of label and score")
	}
	return columns, nil
}

// addRow adds a line of CSV: an item of the last request, or the first of another one.
func addRow(records []labelledRecord, cell func(string) string, scores bool, line int) ([]labelledRecord, error) {
	sampled := false
	if text := cell("sampled"); text != "" {
		var err error
		if sampled, err = strconv.ParseBool(strings.ToLower(text)); err != nil {
			return nil, fmt.Errorf("sampled is %q; it must be true or false", cut(printable(text), 40))
		}
	}
	last := len(records) - 1
	if last < 0 || records[last].ID != cell("id") {
		records, last = append(records, labelledRecord{oip.Feedback{ID: cell("id"), Sampled: sampled}, line}), last+1
	}
	f := &records[last].Feedback
	if f.Sampled != sampled {
		return nil, fmt.Errorf("sampled differs from the line before, which has the same id %q", cut(printable(f.ID), 80))
	}
	if !scores {
		f.Labels = append(f.Labels, labelOf(cell("label")))
		return records, nil
	}
	if cell("score") == "" {
		f.Scores = append(f.Scores, nil)
		return records, nil
	}
	v, err := strconv.ParseFloat(cell("score"), 64)
	if err != nil || math.IsNaN(v) {
		return nil, fmt.Errorf("the score is %q; it must be a number between 0 and 1", cut(printable(cell("score")), 40))
	}
	f.Scores = append(f.Scores, &v)
	return records, nil
}

// labelOf reads a label: numbers if all its parts are, else names.
func labelOf(text string) (l oip.Label) {
	if text == "" {
		return l
	}
	for part := range strings.SplitSeq(text, ";") {
		part = strings.TrimSpace(part)
		l.Names = append(l.Names, part)
		if v, err := strconv.ParseFloat(part, 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
			l.Numbers = append(l.Numbers, v)
		}
	}
	if len(l.Numbers) == len(l.Names) {
		return oip.Label{Numbers: l.Numbers}
	}
	return oip.Label{Names: l.Names}
}
