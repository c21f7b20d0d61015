package api

import (
	"errors"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/feedback"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/oip/inference"
	"github.com/mosel-serve/mosel/status"
)

// feedbackBytesMax bounds a call with labels: ten thousand records of 100 bytes.
const feedbackBytesMax = 1 << 20

// feedbackPerByte is the most memory that a byte of such a call takes once it is decoded:
// "0," is a label with a slice of its own, and two bytes of gRPC are one without anything.
const feedbackPerByte = 80

var errFeedbackOff = slo.E("", slo.KindUnsupported, "this server does not keep its answers, so labels that come later cannot be scored: start it with --feedback")

// remember keeps an answer for labels that come later.
func (a *API) remember(id string, l engine.Lease, r *engine.Response) {
	answer := feedback.Answer{ID: id, Job: r.Job, Output: r.Outputs[0], Variants: r.Variants, Expected: r.ExpectedAccuracy, Low: r.AccuracyLow,
		Profile: l.Profile, Answered: r.Ended}
	for _, route := range r.Routes {
		answer.Routes = append(answer.Routes, feedback.Route{Name: route.Name, Accuracy: route.Accuracy, Partial: !route.Whole})
	}
	for _, f := range r.Failed {
		answer.Failed = append(answer.Failed, f.Item)
	}
	a.cfg.Feedback.Remember(l.Model, answer)
}

// give takes records for a model. Both transports use it.
func (a *API) give(b *backend, model, version string, records []oip.Feedback) (oip.FeedbackResult, error) {
	l, err := b.engine.Use(model, version)
	if err != nil {
		return oip.FeedbackResult{}, err
	}
	defer l.Release()
	return a.cfg.Feedback.Take(l.Model, b.engine.Now(), records)
}

// wrongFeedback sets the kind of an error in records.
func wrongFeedback(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, oip.ErrTooLarge) {
		return slo.E("", slo.KindTooLarge, "%w", err)
	}
	return slo.E("", slo.KindInvalid, "%w", err)
}

// takeFeedback serves labels over REST.
func (a *API) takeFeedback(w http.ResponseWriter, r *http.Request, args arguments) error {
	if a.cfg.Feedback == nil {
		return errFeedbackOff
	}
	x := newExchange(&a.bodies)
	defer x.release()
	x.reader = a.newBodyReader(w, r, feedbackBytesMax)
	if err := unreadable(r, x.read(&x.reader, r.ContentLength, feedbackBytesMax)); err != nil {
		return err
	}
	if err := x.reserve(feedbackPerByte * int64(len(x.body))); err != nil {
		return err
	}
	records, err := oip.DecodeFeedback(x.body)
	if err != nil {
		return wrongFeedback(err)
	}
	result, err := a.give(args.backend, r.PathValue("model"), r.PathValue("version"), records)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, result)
}

// feedback answers ModelFeedback.
func (s *service) feedback(f *frame) (*inference.ModelFeedbackResponse, error) {
	defer f.buffer.Free()
	if s.api.cfg.Feedback == nil {
		return nil, errFeedbackOff
	}
	b, err := s.api.current()
	if err != nil {
		return nil, err
	}
	if f.size() > feedbackBytesMax {
		return nil, slo.E("", slo.KindTooLarge, "the message has more than %d bytes", feedbackBytesMax)
	}
	x := newExchange(&s.api.bodies)
	defer x.release()
	if err := x.reserve(feedbackPerByte * f.size()); err != nil {
		return nil, err
	}
	q := new(inference.ModelFeedbackRequest)
	if err := proto.Unmarshal(f.buffer.ReadOnlyData(), q); err != nil {
		return nil, invalid("the message is not a valid ModelFeedbackRequest: %w", err)
	}
	records, err := inference.DecodeFeedback(q)
	if err != nil {
		return nil, wrongFeedback(err)
	}
	result, err := s.api.give(b, q.GetModelName(), q.GetModelVersion(), records)
	if err != nil {
		return nil, err
	}
	return inference.EncodeFeedbackResult(result), nil
}

// reportFeedback answers with what labels have said of a model.
func (a *API) reportFeedback(w http.ResponseWriter, r *http.Request, args arguments) error {
	if a.cfg.Feedback == nil {
		return errFeedbackOff
	}
	l, err := args.engine.Use(r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	defer l.Release()
	return writeJSON(w, http.StatusOK, a.cfg.Feedback.Report(l.Model, args.engine.Now(), time.Now(), true))
}

// addFeedback adds to a status what labels have said.
func (a *API) addFeedback(s *status.Status, e *engine.Engine) {
	if a.cfg.Feedback == nil {
		return
	}
	for i := range s.Models {
		l, err := e.Use(s.Models[i].Name, s.Models[i].Version)
		if err != nil {
			continue // removed meanwhile
		}
		f := a.cfg.Feedback.Report(l.Model, e.Now(), time.Now(), false)
		s.Models[i].Feedback = &f
		l.Release()
	}
}
