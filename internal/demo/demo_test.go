package demo

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// example is a model of two modalities with 200 held-out samples.
func example(t *testing.T) (*replay.Samples, *modelpkg.Profile) {
	t.Helper()
	m := &modelpkg.Model{Name: "parity", Description: "Even or odd?", Dir: t.TempDir(), Labels: []string{"even", "odd"},
		Modalities: []modelpkg.Modality{{Name: "sound", Inputs: []int{0}}, {Name: "text", Inputs: []int{1}}},
		Inputs: []modelpkg.Input{
			{Spec: modelpkg.Spec{Name: "sound", DType: tensor.Int16, Shape: tensor.Shape{4}}, Media: modelpkg.MediaAudio, SampleRate: 8000},
			{Spec: modelpkg.Spec{Name: "text", DType: tensor.Uint8, Shape: tensor.Shape{4}}, Modality: 1, Media: modelpkg.MediaText},
		},
		Outputs: []modelpkg.Spec{{Name: "p", DType: tensor.FP32, Shape: tensor.Shape{2}}}}
	const n = 200
	var text, label []byte
	for i := range n {
		text = append(text, "odd\x00"...)
		label = append(label, byte(1-i%2))
	}
	path := filepath.Join(m.Dir, "heldout.npz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := modelpkg.WriteNPZ(f, []tensor.Tensor{
		{Name: "sound", DType: tensor.Int16, Shape: tensor.Shape{n, 4}, Data: make([]byte, 8*n)},
		{Name: "text", DType: tensor.Uint8, Shape: tensor.Shape{n, 4}, Data: text},
		{Name: "label", DType: tensor.Uint8, Shape: tensor.Shape{n}, Data: label},
	}); err != nil {
		t.Fatal(err)
	}
	set, err := modelpkg.OpenSet(path, m)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := replay.NewSamples(m, set)
	if err != nil {
		t.Fatal(err)
	}
	profile := &modelpkg.Profile{Device: "cpu-test", Variants: []modelpkg.VariantProfile{
		{Name: "text", Modalities: []string{"text"}, Precision: "fp32", Accuracy: modelpkg.AccuracyMean{Mean: 0.8}, Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: 1}}},
		{Name: "sound", Modalities: []string{"sound"}, Precision: "fp32", Accuracy: modelpkg.AccuracyMean{Mean: 0.965, Low: 0.961}, Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: 2}}},
		{Name: "all", Modalities: []string{"sound", "text"}, Precision: "fp32", Accuracy: modelpkg.AccuracyMean{Mean: 0.98512}, Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: 8}}},
	}}
	return samples, profile
}

// device is a server in virtual time that takes a fixed time per item, refuses
// what it cannot finish in time, and errs on every hundredth item.
type device struct {
	service time.Duration
	variant string
	dieAt   int // items; 0: never
	die     context.CancelCauseFunc
	started bool
	stopped bool

	mu    sync.Mutex
	free  time.Time // when it has done what it was given
	items int
}

// plan gives a job its place in the queue; false refuses it.
func (d *device) plan(job replay.Job) (end time.Time, wrong, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	end = time.Now()
	if d.free.After(end) {
		end = d.free
	}
	end = end.Add(d.service)
	if job.Late == slo.LateDrop && time.Until(end) > job.Deadline-time.Millisecond {
		return end, false, false
	}
	d.free = end
	if d.items++; d.items == d.dieAt {
		d.die(errors.New("the server died of old age"))
	}
	return end, d.items%100 == 0, true
}

func (d *device) send(ctx context.Context, job replay.Job, a *replay.Answer) {
	end, wrong, ok := d.plan(job)
	if !ok {
		a.Outcome, a.Failure = slo.Shed, "busy"
		return
	}
	select {
	case <-time.After(time.Until(end)):
	case <-ctx.Done():
		return
	}
	right := float32(1)
	if wrong {
		right = 0
	}
	a.Outcome, a.Expected, a.Scores = slo.OnTime, 970_000, append(a.Scores, right)
	a.Mix = append(a.Mix, replay.VariantItems{Variant: d.variant, Items: 1})
}

func (d *device) infer(context.Context, replay.Job) (*client.Response, error) {
	time.Sleep(d.service) // virtual
	var scores []byte
	for _, s := range []float32{0.1, 0.9} {
		scores = binary.LittleEndian.AppendUint32(scores, math.Float32bits(s))
	}
	return &client.Response{Variant: d.variant, Modalities: strings.Split(d.variant, "_"), ExpectedAccuracy: 0.97, Compute: d.service,
		Outputs: []tensor.Tensor{{Name: "p", DType: tensor.FP32, Shape: tensor.Shape{1, 2}, Data: scores}}}, nil
}

// demonstrate runs a whole demonstration against devices.
func demonstrate(t *testing.T, devices map[string]*device, boot time.Duration) (*Result, string, error) {
	t.Helper()
	samples, profile := example(t)
	var out bytes.Buffer
	result, err := Run(t.Context(), Config{Samples: samples, Profile: profile, Deadline: 100 * time.Millisecond, Seed: 1, Out: &out, Live: func(string) {},
		Serve: func(ctx context.Context, policy string) (*Serving, error) {
			d := devices[policy]
			select {
			case <-time.After(boot):
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			d.started = true
			return &Serving{Send: d.send, Infer: d.infer, Stop: func() { d.stopped = true },
				Watch: func(ctx context.Context) (context.Context, context.CancelFunc) {
					ctx, d.die = context.WithCancelCause(ctx)
					return ctx, func() { d.die(context.Canceled) }
				}}, nil
		}})
	for policy, d := range devices {
		if d.started && !d.stopped {
			t.Errorf("the server of policy %s was not stopped", policy)
		}
	}
	return result, out.String(), err
}

func TestDemonstration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		devices := map[string]*device{All: {service: 8 * time.Millisecond, variant: "sound_text"}, ours: {service: 2 * time.Millisecond, variant: "sound"}}
		began := time.Now()
		r, out, err := demonstrate(t, devices, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 80*time.Second || r.Seconds != took.Seconds() {
			t.Errorf("took %v, says %v s", took, r.Seconds)
		}
		// An M/D/1 queue keeps 99 % within 100 ms at 12 services up to about 80 % load.
		if all := r.Policies[0].Rate; all < 85 || all > 122 {
			t.Errorf("policy all: %v items/s", all)
		}
		if r.ThroughputRatio < 3.5 || r.ThroughputRatio > 5.5 {
			t.Errorf("throughput ratio %v", r.ThroughputRatio)
		}
		if r.JCTRatio < 50 || r.OverloadRate != 1.5*r.Policies[0].Rate {
			t.Errorf("JCT ratio %v at %v", r.JCTRatio, r.OverloadRate)
		}
		if r.Floor != 0.9601 || r.LateShare > 0.01 || math.Abs(r.MeasuredAccuracy-0.99) > 0.002 || r.MeasuredAccuracyLow >= r.MeasuredAccuracy {
			t.Errorf("floor %v, late %v, accuracy %v (%v)", r.Floor, r.LateShare, r.MeasuredAccuracy, r.MeasuredAccuracyLow)
		}
		for _, p := range r.Policies {
			if p.Overload.Items.Shed > 0 || p.Overload.Served.Items != p.Overload.Offered.Items {
				t.Errorf("policy %s dropped work in overload: %+v", p.Policy, p.Overload.Items)
			}
			if p.Confirmed.Items.OnTimeShare < 0.99 || p.Confirmed.Seconds < 6.9 {
				t.Errorf("policy %s is not confirmed by %+v", p.Policy, p.Confirmed)
			}
		}
		for _, say := range []string{"0.9601 within 100ms", `text     "odd"`, "sound    0.0005 s of sound", "policy all:   odd, 90.0 % sure; ran sound and text", "policy mosel: odd"} {
			if !strings.Contains(out, say) {
				t.Errorf("it does not say %q:\n%s", say, out)
			}
		}
	})
}

// TestDefaultFloor: the floor leaves a choice where the model has one.
func TestDefaultFloor(t *testing.T) {
	_, p := example(t)
	all := p.Variants[2]
	for _, c := range []struct {
		name       string
		mean, low  float64 // of the variant that takes a quarter of the time of all
		soundTakes float64
		want       slo.Accuracy
	}{
		{"a much cheaper variant is accurate enough", 0.975, 0.965, 2, 960_100},
		{"the best one is less accurate", 0.93, 0.9187, 2, 918_700},
		{"its interval reaches below", 0.965, 0.9499, 2, 949_900},
		{"none but one of low accuracy is much cheaper", 0.97, 0.95, 7, 772_000},
	} {
		p.Variants[0].Accuracy.Low = 0.772
		p.Variants[1].Accuracy = modelpkg.AccuracyMean{Mean: c.mean, Low: c.low}
		p.Variants[1].Batches[0].P50MS = c.soundTakes
		if floor, err := defaultFloor(p, all); err != nil || floor != c.want {
			t.Errorf("%s: floor %v, %v; want %v", c.name, floor, err, c.want)
		}
	}
	p.Variants = p.Variants[2:]
	if floor, err := defaultFloor(p, all); err != nil || floor != 960_100 {
		t.Errorf("without a cheaper variant: floor %v, %v", floor, err)
	}
}

func TestDeadServerIsTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		devices := map[string]*device{All: {service: 8 * time.Millisecond, variant: "sound_text", dieAt: 300}}
		_, _, err := demonstrate(t, devices, 0)
		if err == nil || err.Error() != "policy all: the server died of old age" {
			t.Errorf("%v", err)
		}
	})
}

func TestDemonstrationEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		devices := map[string]*device{All: {service: 8 * time.Millisecond, variant: "sound_text"}, ours: {service: 2 * time.Millisecond, variant: "sound"}}
		began := time.Now()
		_, _, err := demonstrate(t, devices, 40*time.Second) // two of these leave too little
		if took := time.Since(began); !errors.Is(err, ErrTime) || took > Budget {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestModelWithoutFullVariant(t *testing.T) {
	samples, profile := example(t)
	profile.Variants = profile.Variants[:2]
	_, err := Run(t.Context(), Config{Samples: samples, Profile: profile})
	if slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), "no fp32 variant with all modalities") {
		t.Errorf("%v", err)
	}
}

// found is a result with every field set.
func found() *Result {
	report := func(accuracy, late, mean float64, variants ...replay.VariantItems) replay.Report {
		r := replay.Report{Variants: variants, Failures: []replay.Failure{}}
		r.Accuracy = replay.Accuracy{Measured: accuracy, Low: accuracy - 0.008, High: accuracy + 0.006}
		r.Items.LateShare, r.Served.Items = late, 1000
		r.JCT = replay.JCT{Mean: mean, P99: 2 * mean}
		return r
	}
	r := &Result{Format: ResultFormat, Floor: 0.96, Model: "digits", Metric: "accuracy", Device: "cpu-test", DeadlineMS: 100, OverloadRate: 213, Seconds: 74.5,
		Policies: []PolicyPart{
			{Policy: All, Rate: 142, Confirmed: report(0.985, 0.004, 0, replay.VariantItems{Variant: "all", Items: 1000}), Overload: report(0.985, 0.8, 1840.3)},
			{Policy: ours, Rate: 612, Confirmed: report(0.968, 0.002, 0, replay.VariantItems{Variant: "image_text", Items: 950}, replay.VariantItems{Variant: "all", Items: 50}), Overload: report(0.97, 0, 8.1)},
		}}
	r.conclude()
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; go test -rewrite accepts this:\n%s", path, got)
	}
}

// TestTableOfOtherMetrics: the table has the metric's name, and no numbers where
// nothing was measured.
func TestTableOfOtherMetrics(t *testing.T) {
	r := found()
	r.Metric, r.Floor = "sign accuracy", 0.99
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "measured sign accuracy, held-out samples") || !strings.Contains(b.String(), "The measured sign accuracy is below the floor") {
		t.Error(b.String())
	}
	r.Metric, r.Unmeasured = "external score", "It cannot be measured."
	b.Reset()
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); strings.Contains(text, "0.968") || strings.Contains(text, "below the floor") || !strings.Contains(text, "It cannot be measured.") {
		t.Error(text)
	}
}

// TestRequestOfOtherMetrics: the request that is shown is told in the metric's words.
func TestRequestOfOtherMetrics(t *testing.T) {
	for _, c := range []struct{ metric, asked, label, answer string }{
		{"sign", "asks for a mean score (sign accuracy) of at least 0.9", "heldout.npz, 1):", "-0.25; ran text"},
		{"external", "asks for a mean score (external score) of at least 0.9", "heldout.npz, without a label):", "an answer; ran text"},
	} {
		samples, _ := example(t)
		m := *samples.Model
		m.Labels, m.Outputs = nil, []modelpkg.Spec{{Name: "p", DType: tensor.FP32, Shape: tensor.Shape{1}}}
		m.Scoring, _ = score.New(c.metric)
		set, err := modelpkg.OpenSet(samples.Set.Path, &m)
		if err != nil {
			t.Fatal(err)
		}
		if samples, err = replay.NewSamples(&m, set); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		d := &demonstration{Config: Config{Samples: samples, Out: &b, Live: func(string) {}}, floor: 900_000}
		d.introduce()
		err = d.show(t.Context(), ours, &Serving{Infer: func(context.Context, replay.Job) (*client.Response, error) {
			data := binary.LittleEndian.AppendUint32(nil, math.Float32bits(-0.25))
			return &client.Response{Modalities: []string{"text"}, Outputs: []tensor.Tensor{{Name: "p", DType: tensor.FP32, Shape: tensor.Shape{1, 1}, Data: data}}}, nil
		}})
		for _, want := range []string{c.asked, c.label, c.answer} {
			if err != nil || !strings.Contains(b.String(), want) {
				t.Errorf("%s: %v, want %q in\n%s", c.metric, err, want, b.String())
			}
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := found().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", b.Bytes())
}

// TestPromisesThatDoNotHoldAreTold: a demonstration on data for which the profile
// promises too much says so.
func TestPromisesThatDoNotHoldAreTold(t *testing.T) {
	r := found()
	r.Policies[1].Confirmed.Accuracy.Expected, r.Policies[1].Confirmed.Accuracy.ExpectedIs = 0.99, "above"
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	if want := "Policy mosel: expected 0.9900 lies above the 95 % interval 0.9600-0.9740"; !strings.Contains(b.String(), want) || strings.Contains(b.String(), "Policy all: expected") {
		t.Errorf("it does not say %q, and of mosel only:\n%s", want, b.String())
	}
}

// TestJSONIsStable: a field that is renamed, dropped or changes its type breaks
// those who read the result. New fields may be added.
func TestJSONIsStable(t *testing.T) {
	text, err := json.MarshalIndent(found(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "result.json", append(text, '\n'))
}

// TestDescribe describes inputs of every kind for a person.
func TestDescribe(t *testing.T) {
	ids := modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.Int64, Shape: tensor.Shape{-1}}, Media: modelpkg.MediaText, Tokens: &modelpkg.Tokens{}}
	for _, c := range []struct {
		in   modelpkg.Input
		data []byte
		want string
	}{
		{ids, make([]byte, 48), "the ids of a text, filled up to 6"},
		{modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.Uint8, Shape: tensor.Shape{5}}, Media: modelpkg.MediaText}, []byte("six\x00\x00"), `"six"`},
		{modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.Uint8, Shape: tensor.Shape{2, 2}}, Media: modelpkg.MediaImage}, make([]byte, 4), "an image, [2,2]"},
		{modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.Int16, Shape: tensor.Shape{8}}, Media: modelpkg.MediaAudio, SampleRate: 8}, make([]byte, 16), "1 s of sound at 8 Hz"},
		{modelpkg.Input{Spec: modelpkg.Spec{DType: tensor.FP32, Shape: tensor.Shape{3}}}, make([]byte, 12), "FP32 [3]"},
	} {
		if got := describe(c.in, c.data); got != c.want {
			t.Errorf("described as %s, want %s", got, c.want)
		}
	}
}

// TestGuessOfCascades guesses the throughput of cascades that reach a floor.
func TestGuessOfCascades(t *testing.T) {
	variant := func(name string, ms float64) modelpkg.VariantProfile {
		return modelpkg.VariantProfile{Name: name, Batches: []modelpkg.BatchProfile{{Items: 1, P50MS: ms}}}
	}
	p := &modelpkg.Profile{Variants: []modelpkg.VariantProfile{variant("a@8", 1), variant("a@16", 2), variant("b", 10)}}
	if got := cascaded(p, 0, 0); got != 0 {
		t.Errorf("without cascades: %v", got)
	}
	p.Cascades = &modelpkg.Cascades{Tested: 2, Points: []modelpkg.CascadePoint{
		{First: "a", Then: "b", Accuracy: modelpkg.MeasuredAccuracy(9700, 10000), Cautious: 0.968, WentOn: 1000},
		{First: "a", Then: "b", Accuracy: modelpkg.MeasuredAccuracy(9900, 10000), Cautious: 0.989, WentOn: 3000}}}
	for _, c := range []struct {
		floor      slo.Accuracy
		confidence slo.Confidence
		want       float64
	}{{960_000, 0, 1e3 / 3}, {968_500, 0, 1e3 / 5}, {966_000, slo.ConfidenceShown, 1e3 / 5}, {990_000, 0, 0}} {
		if got := cascaded(p, c.floor, c.confidence); got < c.want-1 || got > c.want+1 {
			t.Errorf("floor %v at %v: %v/s, want %v/s", c.floor, c.confidence.Float(), got, c.want)
		}
	}
}

// TestGuessOfACertifiedFloor: a variant whose bound is below the floor is no guess.
func TestGuessOfACertifiedFloor(t *testing.T) {
	samples, p := example(t)
	all, cheap := p.Variants[2], &p.Variants[1]
	cheap.Accuracy = modelpkg.MeasuredAccuracy(990, 1000)
	for confidence, want := range map[slo.Confidence]string{0: cheap.Name, slo.ConfidenceShown: all.Name} {
		if got := cheapest(samples.Model, p, 985_000, confidence, all); got.Name != want {
			t.Errorf("at %v: %s, want %s", confidence.Float(), got.Name, want)
		}
	}
}
