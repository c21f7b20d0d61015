package modelpkg

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// goodProfile returns a profile of the good package.
func goodProfile(m *Model, device string) *Profile {
	batches := []BatchProfile{{1, 0.5, 0.6, 1 << 20, 10}, {8, 2.5, 2.5, 0, 10}}
	return &Profile{
		Format: ProfileFormat, Model: m.Name, ModelVersion: m.Version, ModelDigest: m.Digest, Device: device, DeviceDetail: "a test",
		Threads: 2, Runtime: "fake", RuntimeVersion: "1", Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Dataset: m.Evaluation.Profile, DatasetDigest: "sha256:set", Samples: 100,
		Variants: []VariantProfile{
			{Name: "image", Modalities: []string{"image"}, Precision: "fp32", Accuracy: MeasuredAccuracy(80, 100), Batches: batches},
			{Name: "all", Modalities: []string{"image", "sound"}, Precision: "int8", Accuracy: MeasuredAccuracy(98, 100), Batches: batches},
		},
	}
}

// goodCascades returns a cascade of the good package with two thresholds.
func goodCascades() *Cascades {
	point := CascadePoint{First: "image", Then: "all", Threshold: 0.95, Accuracy: MeasuredAccuracy(78, 80), Cautious: 0.95, WentOn: 20, WentOnLow: 0.2, WentOnHigh: 0.3, Stopped: 1, OnFirst: 0.5, OnThen: 0.9}
	safer := point
	safer.Threshold = 0.99
	return &Cascades{Pilot: 20, Tested: 14, Points: []CascadePoint{point, safer}}
}

func TestProfileRoundTrip(t *testing.T) {
	m := loadGood(t)
	p := goodProfile(m, "cpu")
	p.Cascades = goodCascades()
	path := m.ProfilePath("cpu")
	if err := p.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := LoadProfile(m, path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, p) {
		t.Errorf("got %+v, saved %+v", got, p)
	}
	if filepath.Base(path) != "cpu.json" || filepath.Base(m.SamplesPath("cpu")) != "cpu.samples.npz" {
		t.Errorf("paths %s, %s", path, m.SamplesPath("cpu"))
	}
	if problems := Check(m.Dir); len(problems) > 0 {
		t.Errorf("check: %v", problems)
	}
}

func TestProfileRefuses(t *testing.T) {
	m := loadGood(t)
	for _, c := range []struct {
		name   string
		change func(p *Profile)
		want   string
	}{
		{"format", func(p *Profile) { p.Format = 2 }, "format is 2; this mosel reads 1"},
		{"digest", func(p *Profile) { p.ModelDigest = "sha256:0123456789abcdef" }, "it was measured for another model: pair 0123456789ab..., but " + m.Dir + " is pair "},
		{"model", func(p *Profile) { p.Model = "other" }, "run `mosel profile " + m.Dir + "` again"},
		{"providers", func(p *Profile) { p.Providers = []Provider{"tpu"} }, "its providers are tpu; known are cpu,"},
		{"threads", func(p *Profile) { p.Threads = 0 }, "threads is 0"},
		{"device", func(p *Profile) { p.Device = "../x" }, `the device "../x" must be small letters`},
		{"variants", func(p *Profile) { p.Variants = p.Variants[:1] }, "it has 1 variants; the model has 2"},
		{"order", func(p *Profile) { slices.Reverse(p.Variants) }, "variant 0 is all int8 [image sound]; the model has image fp32 [image]"},
		{"accuracy", func(p *Profile) { p.Variants[0].Accuracy.Mean = 1.2 }, "variant image: accuracy 80 of 100, 1.2 in"},
		{"stages", func(p *Profile) { p.Stages = []StageProfile{{Name: "encoder"}} }, "it has 1 stages; the model has 0"},
		{"cascade of", func(p *Profile) { p.Cascades = goodCascades(); p.Cascades.Points[0].Then = "sound" }, "cascade image>sound is not of two variants of the model"},
		{"cascade's points", func(p *Profile) { p.Cascades = goodCascades(); p.Cascades.Tested = 1 }, "1 points were tested, and there are 2"},
		{"cascade's items", func(p *Profile) { p.Cascades = goodCascades(); p.Cascades.Points[1].WentOn = 81 }, "cascade image>all: 81 of 80 items went on below 0.99"},
		{"cascade's accuracy", func(p *Profile) { p.Cascades = goodCascades(); p.Cascades.Points[1].Accuracy.Mean = 2 }, "cascade image>all: accuracy 78 of 80, 2 in"},
		{"cascade's share", func(p *Profile) { p.Cascades = goodCascades(); p.Cascades.Points[1].OnThen = 1.5 }, "numbers from 0 to 1"},
		{"no batch", func(p *Profile) { p.Variants[1].Batches = nil }, "variant all: the first batch must be of 1 item"},
		{"first batch", func(p *Profile) { p.Variants[1].Batches[0].Items = 2 }, "the first batch must be of 1 item"},
		{"order of batches", func(p *Profile) { p.Variants[1].Batches[1].Items = 1 }, "batches of 1 and then 1 items: they must ascend"},
		{"largest batch", func(p *Profile) { p.Variants[1].Batches[1].Items = 9 }, "a batch of 9 items; the model's limit is 8"},
		{"latency", func(p *Profile) { p.Variants[1].Batches[1].P50MS = 0 }, "batch of 8: 0 ms (p50) and 2.5 ms (p95) are not possible"},
		{"p95", func(p *Profile) { p.Variants[1].Batches[1].P95MS = 1 }, "batch of 8: 2.5 ms (p50) and 1 ms (p95) are not possible"},
		{"agreement", func(p *Profile) { p.Variants[0].Agreement = &Agreement{With: "all", Mean: 0.8, Low: 0.9} }, "variant image: an agreement of 0.8, at least 0.9, is not possible"},
		{"agreement with", func(p *Profile) { p.Variants[0].Agreement = &Agreement{With: "none", Mean: 1} }, `the agreement is with "none", which is no variant`},
		{"confidence", func(p *Profile) { p.Variants[1].Confidence = 2 }, "a mean confidence of 2 is not possible"},
		{"predicted", func(p *Profile) { p.Variants[1].Predicted = []int{1} }, "predicted has 1 classes; the model has "},
		{"inputs", func(p *Profile) { p.Inputs = []InputProfile{{Name: "image"}} }, "it has 1 inputs; the model has 3"},
		{"input's name", func(p *Profile) { p.Inputs = []InputProfile{{Name: "wave"}, {Name: "image"}, {Name: "gain"}} }, "input 0 is wave; the model's is image"},
		{"input's level", func(p *Profile) { p.Inputs = []InputProfile{{Name: "image", Blank: 2}, {Name: "wave"}, {Name: "gain"}} }, "input image: a level of 0 ± 0, 2 of it blank, is not possible"},
		{"memory", func(p *Profile) { p.Variants[1].Batches[0].MemoryBytes = -1 }, "-1 bytes in 10 runs is not possible"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := goodProfile(m, "cpu")
			p.Variants[0].Batches = slices.Clone(p.Variants[0].Batches)
			c.change(p)
			if err := p.Save(m.ProfilePath("cpu")); err != nil {
				t.Fatal(err)
			}
			_, err := LoadProfile(m, m.ProfilePath("cpu"))
			if slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if problems := lines(m.Dir, Check(m.Dir)); len(problems) != 1 || !strings.HasPrefix(problems[0], "profiles/cpu.json: ") {
				t.Errorf("check: %v", problems)
			}
		})
	}
}

func TestProfileIsStrict(t *testing.T) {
	m := loadGood(t)
	for _, c := range []struct{ text, want string }{
		{"{\n  \"format\": 1,\n  \"modle\": 2\n}", `unknown field "modle"`},
		{"{\n  \"format\": 1,\n  x\n}", "line 3: "},
		{"{}{}", "there is more data after the profile"},
		{"", "EOF"},
		{`{"format": "1"}`, "cannot unmarshal string"},
	} {
		write(t, m.Dir, "profiles/cpu.json", []byte(c.text))
		_, err := LoadProfile(m, m.ProfilePath("cpu"))
		if slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}

func TestFindProfile(t *testing.T) {
	m := loadGood(t)
	if _, err := FindProfile(m, ""); slo.KindOf(err) != slo.KindNotFound || !strings.Contains(err.Error(), "run `mosel profile") {
		t.Errorf("no profile: %v", err)
	}
	save := func(device string) {
		t.Helper()
		if err := goodProfile(m, device).Save(m.ProfilePath(device)); err != nil {
			t.Fatal(err)
		}
	}
	find := func(device, want string) {
		t.Helper()
		p, err := FindProfile(m, device)
		if err != nil || p.Device != want {
			t.Errorf("device %q: got %v, %v; want that of %s", device, p, err, want)
		}
	}
	save("cpu")
	find("", "cpu")
	live := goodProfile(m, "cpu-feedback")
	live.Dataset, live.Feedback = DatasetFeedback, &FeedbackOrigin{Items: 300}
	live.Variants[1].AccuracyOf = m.Evaluation.Profile
	if err := live.Save(m.ProfilePath(live.Device)); err != nil {
		t.Fatal(err)
	}
	find("", "cpu")
	find("cpu-feedback", "cpu-feedback")
	save("gpu")
	if _, err := FindProfile(m, ""); slo.KindOf(err) != slo.KindNotFound || !strings.Contains(err.Error(), "choose one of cpu, gpu") {
		t.Errorf("two profiles of other devices: %v", err)
	}
	find("gpu", "gpu")
	own, detail := Device(nil)
	if detail == "" || CheckDevice(own) != nil {
		t.Errorf("this device is %q, %q", own, detail)
	}
	save(own)
	find("", own)
	if _, err := FindProfile(m, "tpu"); slo.KindOf(err) != slo.KindNotFound {
		t.Errorf("no such device: %v", err)
	}
	if _, err := FindProfile(m, "../../etc/x"); slo.KindOf(err) != slo.KindInvalid {
		t.Errorf("a device that is a path: %v", err)
	}
}

func TestDeviceSlug(t *testing.T) {
	for brand, want := range map[string]string{
		"Intel(R) Xeon(R) CPU @ 2.80GHz":                 "cpu-intel-xeon-2.80ghz",
		"Intel(R) Xeon(R) Platinum 8488C":                "cpu-intel-xeon-platinum-8488c",
		"AMD Ryzen 7 5800X 8-Core Processor":             "cpu-amd-ryzen-7-5800x",
		"AMD EPYC 7B13":                                  "cpu-amd-epyc-7b13",
		"Apple M2 Pro":                                   "cpu-apple-m2-pro",
		"11th Gen Intel(R) Core(TM) i7-1185G7 @ 3.00GHz": "cpu-11th-gen-intel-core-i7-1185g7-3.00ghz",
		"AMD Ryzen 5 PRO 4650U with Radeon Graphics":     "cpu-amd-ryzen-5-pro-4650u",
		"A name so long that no file system would like it " + strings.Repeat("x", 80): "cpu-a-name-so-long-that-no-file-system-would-like-it-xxxxxxxxxxx",
	} {
		if got := deviceSlug(brand); got != want || CheckDevice(got) != nil {
			t.Errorf("%s: %s, want %s", brand, got, want)
		}
	}
}

// TestMeasuredAccuracy compares with the values that Newcombe (1998) published for the
// Wilson interval.
func TestMeasuredAccuracy(t *testing.T) {
	for _, c := range []struct {
		correct, samples int
		want             AccuracyMean
	}{
		{81, 263, AccuracyMean{Correct: 81, Samples: 263, Mean: 0.3080, Low: 0.2553, High: 0.3662}},
		{15, 148, AccuracyMean{Correct: 15, Samples: 148, Mean: 0.1014, Low: 0.0624, High: 0.1605}},
		{0, 20, AccuracyMean{Correct: 0, Samples: 20, Mean: 0, Low: 0, High: 0.1611}},
		{1, 29, AccuracyMean{Correct: 1, Samples: 29, Mean: 0.0345, Low: 0.0061, High: 0.1718}},
		{28, 29, AccuracyMean{Correct: 28, Samples: 29, Mean: 0.9655, Low: 0.8282, High: 0.9939}},
		{0, 0, AccuracyMean{High: 1}},
	} {
		got := MeasuredAccuracy(c.correct, c.samples)
		near := func(a, b float64) bool { return math.Abs(a-b) < 6e-5 }
		if got.Correct != c.want.Correct || !near(got.Mean, c.want.Mean) || !near(got.Low, c.want.Low) || !near(got.High, c.want.High) {
			t.Errorf("%d of %d: %+v, want %+v", c.correct, c.samples, got, c.want)
		}
	}
}

func TestSaveFails(t *testing.T) {
	m := loadGood(t)
	write(t, m.Dir, "profiles", nil) // a file where the directory should be
	if err := goodProfile(m, "cpu").Save(m.ProfilePath("cpu")); err == nil {
		t.Error("saved into a file")
	}
	if _, err := os.Stat(m.ProfilePath("cpu")); err == nil {
		t.Error("there is a profile")
	}
}
