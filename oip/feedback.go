package oip

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// Feedback is what is known, later, about the answer to one request: mosel's extension of
// the protocol, POST /v2/models/{model}/feedback.
type Feedback struct {
	// ID is the request's: the client's own id, or the parameter "job" of the answer.
	ID string `json:"id"`
	// Labels are the right answers, one for each item of the request. Scores, in place of
	// them, are how right the answers were, in [0, 1]. A nil score and a zero Label are of
	// an item that is not labelled.
	Labels []Label    `json:"labels,omitempty"`
	Scores []*float64 `json:"scores,omitempty"`
	// Sampled says that the request was chosen for labelling at random: neither what the
	// answer was, nor whether it looked right, had a part in the choice.
	Sampled bool `json:"sampled,omitempty"`
}

// Label is the right answer to one item: numbers as the model's metric needs them, or names
// of classes. The zero Label is none. In JSON it is a number, a name, a list of either, or
// null.
type Label struct {
	Numbers []float64
	Names   []string
}

// IsNone reports whether it is no label.
func (l Label) IsNone() bool { return l.Numbers == nil && l.Names == nil }

// MarshalJSON implements json.Marshaler.
func (l Label) MarshalJSON() ([]byte, error) {
	switch {
	case l.IsNone():
		return []byte("null"), nil
	case len(l.Names) == 1:
		return json.Marshal(l.Names[0])
	case l.Names != nil:
		return json.Marshal(l.Names)
	case len(l.Numbers) == 1:
		return json.Marshal(l.Numbers[0])
	}
	return json.Marshal(l.Numbers)
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *Label) UnmarshalJSON(text []byte) error {
	*l = Label{}
	text = bytes.TrimSpace(text)
	if len(text) == 0 || bytes.Equal(text, []byte("null")) {
		return nil
	}
	if text[0] != '[' {
		text = bytes.Join([][]byte{{'['}, text, {']'}}, nil)
	}
	var numbers []*float64
	if json.Unmarshal(text, &numbers) == nil {
		l.Numbers = make([]float64, len(numbers))
		for i, v := range numbers {
			if v == nil {
				return errors.New("a label has a null among its numbers")
			}
			l.Numbers[i] = *v
		}
		return nil
	}
	var names []*string
	if err := json.Unmarshal(text, &names); err != nil {
		return errors.New("a label must be a number, the name of a class, a list of either, or null")
	}
	l.Names = make([]string, len(names))
	for i, v := range names {
		if v == nil {
			return errors.New("a label has a null among its names")
		}
		l.Names[i] = *v
	}
	return nil
}

// FeedbackRequest is the body with several records.
type FeedbackRequest struct {
	Feedback []Feedback `json:"feedback"`
}

// FeedbackResult answers it. All but UnknownIDs count items that were given a label or a
// score.
type FeedbackResult struct {
	Accepted   int `json:"accepted"`
	Duplicate  int `json:"duplicate"`  // had a label before, which stays
	Unknown    int `json:"unknown"`    // of requests that the server does not know, or no longer
	Unanswered int `json:"unanswered"` // failed, so that there is no answer to score
	// UnknownIDs are ids of unknown requests, at most UnknownIDsMax.
	UnknownIDs []string `json:"unknown_ids,omitempty"`
}

// Bounds of feedback.
const (
	FeedbackRecordsMax = 10_000 // of one call
	UnknownIDsMax      = 100    // that an answer lists
)

// DecodeFeedback reads a body: one record, or a FeedbackRequest. An unknown field is an
// error, and so is a record that CheckFeedback refuses.
func DecodeFeedback(body []byte) ([]Feedback, error) {
	var q struct {
		*Feedback                    // one record
		Records   *[]json.RawMessage `json:"feedback"`
	}
	q.Feedback = new(Feedback)
	if err := strict(body, &q); err != nil {
		return nil, err
	}
	single := *q.Feedback
	switch {
	case q.Records == nil:
		return []Feedback{single}, CheckFeedback([]Feedback{single})
	case single.ID != "" || single.Labels != nil || single.Scores != nil || single.Sampled:
		return nil, errors.New(`the body has "feedback" and fields of a record: give one record, or a list of records as "feedback"`)
	}
	records := make([]Feedback, len(*q.Records))
	for i, text := range *q.Records {
		if err := strict(text, &records[i]); err != nil {
			return nil, &FeedbackError{Record: i, Err: err}
		}
	}
	return records, CheckFeedback(records)
}

// strict decodes JSON and refuses unknown fields and what follows.
func strict(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("it ends before its JSON does")
		}
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind the JSON")
	}
	return nil
}

// FeedbackError is an error in one record of several.
type FeedbackError struct {
	Record int // from 0
	Err    error
}

// Error implements error.
func (e *FeedbackError) Error() string { return fmt.Sprintf("record %d: %v", e.Record, e.Err) }

// Unwrap returns the error without the place.
func (e *FeedbackError) Unwrap() error { return e.Err }

// CheckFeedback checks what can be checked without the model.
func CheckFeedback(records []Feedback) error {
	if len(records) > FeedbackRecordsMax {
		return fmt.Errorf("there are %d records, the bound is %d: %w", len(records), FeedbackRecordsMax, ErrTooLarge)
	}
	if len(records) == 0 {
		return errors.New(`there are no records: give {"id": ..., "labels": [...]}, or a list of such as "feedback"`)
	}
	for i := range records {
		if err := records[i].check(); err != nil {
			return &FeedbackError{Record: i, Err: err}
		}
	}
	return nil
}

func (f *Feedback) check() error {
	switch {
	case f.ID == "":
		return errors.New("it has no id: give the id of the request, or the parameter job of its answer")
	case len(f.Labels) > 0 && len(f.Scores) > 0:
		return errors.New("it has labels and scores: give one of them")
	case len(f.Labels) == 0 && len(f.Scores) == 0:
		return errors.New("it has no labels and no scores: give one for each item of the request")
	}
	for i, l := range f.Labels {
		if len(l.Numbers) > 0 && len(l.Names) > 0 {
			return fmt.Errorf("the label of item %d has numbers and names: give one of them", i)
		}
	}
	for i, s := range f.Scores {
		if s != nil && !(*s >= 0 && *s <= 1) { // also refuses NaN
			meant := ""
			if *s > 1 && *s <= 100 {
				meant = fmt.Sprintf("; did you mean %v?", math.Round(*s*1e4)/1e6)
			}
			return fmt.Errorf("the score of item %d is %v; it must be between 0 and 1%s", i, *s, meant)
		}
	}
	return nil
}
