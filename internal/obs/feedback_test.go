package obs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/status"
	"github.com/prometheus/client_golang/prometheus"
)

func TestFeedbackMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	f := []status.Feedback{{Model: "m", Version: "1", KeptItems: 7, Unknown: 2, Variants: []status.VariantFeedback{{Name: "image", Accepted: 5, Duplicate: 1,
		Sampled: status.Measured{Items: 4, Accuracy: 0.75, Promised: 0.9}}}}, {Model: "n", Version: "2"}}
	if err := obs.Feedback(r, func() []status.Feedback { return f }); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"mosel_feedback_accuracy model=m,sampled=true,variant=image,version=1 0.75",
		"mosel_feedback_items_total model=m,result=accepted,variant=image,version=1 5",
		"mosel_feedback_items_total model=m,result=duplicate,variant=image,version=1 1",
		"mosel_feedback_items_total model=m,result=unanswered,variant=image,version=1 0",
		"mosel_feedback_items_total model=m,result=unknown,variant=,version=1 2",
		"mosel_feedback_items_total model=n,result=unknown,variant=,version=2 0",
		"mosel_feedback_kept_items model=m,version=1 7",
		"mosel_feedback_kept_items model=n,version=2 0",
		"mosel_feedback_measured_items model=m,sampled=true,variant=image,version=1 4",
		"mosel_feedback_promised_accuracy model=m,sampled=true,variant=image,version=1 0.9",
	}
	gathers(t, r, want)
}

// gathers checks the values of all metrics of a registry.
func gathers(t *testing.T, r *prometheus.Registry, want []string) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			got = append(got, fmt.Sprintf("%s %s %v", f.GetName(), strings.Join(labels, ","), m.GetGauge().GetValue()+m.GetCounter().GetValue()))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
