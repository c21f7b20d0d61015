package inference

import "github.com/mosel-serve/mosel/oip"

// EncodeFeedback writes labels of requests to a model.
func EncodeFeedback(model, version string, records []oip.Feedback) *ModelFeedbackRequest {
	m := &ModelFeedbackRequest{ModelName: model, ModelVersion: version, Feedback: make([]*ModelFeedbackRequest_Record, 0, len(records))}
	for _, f := range records {
		r := &ModelFeedbackRequest_Record{Id: f.ID, Sampled: f.Sampled}
		for _, l := range f.Labels {
			r.Labels = append(r.Labels, &FeedbackLabel{Numbers: l.Numbers, Names: l.Names})
		}
		for _, s := range f.Scores {
			r.Scores = append(r.Scores, &FeedbackScore{Value: s})
		}
		m.Feedback = append(m.Feedback, r)
	}
	return m
}

// DecodeFeedback reads labels of requests, and checks them as oip.DecodeFeedback does.
func DecodeFeedback(m *ModelFeedbackRequest) ([]oip.Feedback, error) {
	records := make([]oip.Feedback, 0, len(m.GetFeedback()))
	for _, r := range m.GetFeedback() {
		f := oip.Feedback{ID: r.GetId(), Sampled: r.GetSampled()}
		for _, l := range r.GetLabels() {
			f.Labels = append(f.Labels, oip.Label{Numbers: l.GetNumbers(), Names: l.GetNames()})
		}
		for _, s := range r.GetScores() {
			f.Scores = append(f.Scores, s.Value) //nolint:protogetter // nil is no score
		}
		records = append(records, f)
	}
	return records, oip.CheckFeedback(records)
}

// EncodeFeedbackResult writes what became of labels.
func EncodeFeedbackResult(r oip.FeedbackResult) *ModelFeedbackResponse {
	return &ModelFeedbackResponse{Accepted: int64(r.Accepted), Duplicate: int64(r.Duplicate), Unknown: int64(r.Unknown), Unanswered: int64(r.Unanswered), UnknownIds: r.UnknownIDs}
}

// DecodeFeedbackResult reads what became of labels.
func DecodeFeedbackResult(m *ModelFeedbackResponse) oip.FeedbackResult {
	return oip.FeedbackResult{Accepted: int(m.GetAccepted()), Duplicate: int(m.GetDuplicate()), Unknown: int(m.GetUnknown()), Unanswered: int(m.GetUnanswered()), UnknownIDs: m.GetUnknownIds()}
}
