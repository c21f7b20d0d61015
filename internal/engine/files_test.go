package engine_test

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/media"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// show is a model of a text and of a picture of so many pixels on a side. The text alone
// takes 1 ms an item and is right in 90 %, both take 4 ms and are right in 98 %.
func show(side int64) engine.Served {
	m := &modelpkg.Model{
		Name: "show", Version: "1", Digest: "sha256:0", Task: "classification", Metric: "accuracy",
		Modalities: []modelpkg.Modality{{Name: "text", Inputs: []int{0}}, {Name: "image", Inputs: []int{1}}},
		Inputs: []modelpkg.Input{
			{Spec: modelpkg.Spec{Name: "text", DType: tensor.Uint8, Shape: tensor.Shape{8}}, Media: modelpkg.MediaText},
			{Spec: modelpkg.Spec{Name: "image", DType: tensor.Uint8, Shape: tensor.Shape{side, side, 3}}, Modality: 1, Media: modelpkg.MediaImage},
		},
		Outputs: []modelpkg.Spec{{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{64}}},
		Variants: []modelpkg.Variant{
			{Name: "text", Modalities: 1, Inputs: []int{0}, Path: "text.onnx", Precision: "fp32"},
			{Name: "both", Modalities: 3, Inputs: []int{0, 1}, Path: "both.onnx", Precision: "fp32"},
		},
		Limits: modelpkg.Limits{BatchItemsMax: 8},
	}
	batches := func(ms float64) []modelpkg.BatchProfile {
		return []modelpkg.BatchProfile{{Items: 1, P50MS: ms, P95MS: ms}, {Items: 8, P50MS: 8 * ms, P95MS: 8 * ms}}
	}
	p := &modelpkg.Profile{Model: "show", Variants: []modelpkg.VariantProfile{
		{Name: "text", Accuracy: modelpkg.AccuracyMean{Mean: 0.9}, Batches: batches(1)},
		{Name: "both", Accuracy: modelpkg.AccuracyMean{Mean: 0.98}, Batches: batches(4)},
	}}
	return engine.Served{Model: m, Profile: p}
}

// serveShow makes an engine of the model.
func serveShow(t testing.TB, served engine.Served, policy plan.Policy) *engine.Engine {
	t.Helper()
	rt := fake.New(fake.Config{Profiles: []*modelpkg.Profile{served.Profile}})
	e, err := engine.New(t.Context(), engine.Config{Models: []engine.Served{served}, Policy: policy, Instances: 1, Threads: 1,
		QueueItemsMax: 10000, QueueJobsMax: 5000, Log: discard}, rt)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// photo is a picture with some detail.
func photo(width, height, seed int) image.Image {
	p := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			p.Set(x, y, color.RGBA{R: uint8(x*seed + y), G: uint8(y * 3), B: uint8(x ^ y), A: 255})
		}
	}
	return p
}

func pngFile(t testing.TB, p image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var bothFiles = []bool{true, true}

func showRequest(floor slo.Accuracy, items ...runtime.Item) engine.Request {
	return engine.Request{Modalities: 3, Items: items, Encoded: bothFiles, Objective: slo.Objective{Deadline: slo.Never, Floor: floor}}
}

// TestOnlyWhatRunsIsDecoded asks for floors at which all, some and none of the items need
// their pictures: as many files are read, and answers are those of the tensors.
func TestOnlyWhatRunsIsDecoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := show(4)
		e := serveShow(t, served, plan.PolicyMosel)
		defer drain(t, e)
		picture := pngFile(t, photo(9, 7, 3))
		for _, floor := range []float64{0.89, 0.94, 0.975} {
			var items []runtime.Item
			for range 8 {
				items = append(items, runtime.Item{[]byte("héllo"), picture})
			}
			files, _ := e.FilesDecoded()
			r, err := e.Infer(t.Context(), "show", "1", showRequest(slo.Accuracy(floor*1e6), items...))
			if err != nil {
				t.Fatal(err)
			}
			pictures := 0
			for i, v := range r.Variants {
				pictures += v
				item := runtime.Item{encoded(t, served.Model.Inputs[0], items[i][0]), encoded(t, served.Model.Inputs[1], items[i][1])}
				if got, want := r.Outputs[0].Row(i), fake.Row(served.Model, 0, v, item); !bytes.Equal(got, want) {
					t.Errorf("floor %v: item %d has another answer", floor, i)
				}
			}
			if after, _ := e.FilesDecoded(); int(after-files) != 8+pictures {
				t.Errorf("floor %v: %d files were read for %d texts and %d pictures", floor, after-files, 8, pictures)
			}
			if !bytes.Equal(items[0][1], picture) {
				t.Error("the request's own items changed")
			}
		}
	})
}

func encoded(t testing.TB, in modelpkg.Input, file []byte) []byte {
	t.Helper()
	x, err := media.Encode(in, file)
	if err != nil {
		t.Fatal(err)
	}
	return x.Data
}

// TestABrokenFileFailsItsItemAlone has good and broken files of several clients in the
// same batches.
func TestABrokenFileFailsItsItemAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := show(4)
		e := serveShow(t, served, plan.PolicyAll)
		defer drain(t, e)
		good, bad := pngFile(t, photo(9, 7, 3)), []byte("no picture")
		type answer struct {
			r   engine.Response
			err error
		}
		send := func(pictures ...[]byte) chan answer {
			var items []runtime.Item
			for _, p := range pictures {
				items = append(items, runtime.Item{[]byte("a"), p})
			}
			done := make(chan answer, 1)
			go func() {
				r, err := e.Infer(t.Context(), "show", "1", showRequest(0, items...))
				done <- answer{r, err}
			}()
			synctest.Wait()
			return done
		}
		first := send(good) // the others wait for it, and share a batch
		all, some, none, other := send(good, good), send(bad, good, bad), send(bad, bad), send(good)
		for i, done := range []chan answer{first, all, other} {
			if a := <-done; a.err != nil || len(a.r.Failed) > 0 {
				t.Errorf("request %d of good files: %+v, %v", i, a.r.Failed, a.err)
			}
		}
		a := <-some
		if a.err != nil || len(a.r.Failed) != 2 || a.r.Failed[0].Item != 0 || a.r.Failed[1].Item != 2 || slo.KindOf(a.r.Failed[0].Err) != slo.KindInvalid {
			t.Fatalf("%+v, %v", a.r.Failed, a.err)
		}
		item := runtime.Item{encoded(t, served.Model.Inputs[0], []byte("a")), encoded(t, served.Model.Inputs[1], good)}
		if !bytes.Equal(a.r.Outputs[0].Row(1), fake.Row(served.Model, 0, 1, item)) || a.r.Outputs[0].Rows() != 3 {
			t.Error("the item between two broken ones has another answer")
		}
		if a := <-none; slo.KindOf(a.err) != slo.KindInvalid || !strings.Contains(a.err.Error(), `item 0: input "image": not a PNG`) {
			t.Errorf("all broken: %v", a.err)
		}
	})
}

// BenchmarkFiles measures what it saves to read files after dispatch and only those of the
// modalities that run: jobs of 8 items with a text and a JPEG of 640x480 each, at a floor
// of 0.93, which a mix of both variants keeps. Beside it the same with all files read
// first, and the policy all, which runs and reads everything. The runtime takes the time
// of a profile, reading is real.
func BenchmarkFiles(b *testing.B) {
	var photos [][]byte
	for seed := range 8 {
		var file bytes.Buffer
		if err := jpeg.Encode(&file, photo(640, 480, seed+1), nil); err != nil {
			b.Fatal(err)
		}
		photos = append(photos, file.Bytes())
	}
	type measured struct{ bytes, rate float64 }
	results := map[string]measured{}
	for _, c := range []struct {
		name   string
		policy plan.Policy
		first  bool
	}{{"all", plan.PolicyAll, false}, {"mosel_reads_first", plan.PolicyMosel, true}, {"mosel", plan.PolicyMosel, false}} {
		b.Run(c.name, func(b *testing.B) {
			served := show(224)
			e := serveShow(b, served, c.policy)
			defer func() {
				if err := e.Drain(b.Context()); err != nil {
					b.Error(err)
				}
			}()
			var read atomic.Int64
			b.SetParallelism(8) // so that requests wait, and mosel keeps the floor and no more
			b.ResetTimer()
			began := time.Now()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := showRequest(930_000)
					r.Objective.Deadline, r.Objective.Late = e.Now().Add(50*time.Millisecond), slo.LateRun
					for _, photo := range photos {
						item := runtime.Item{[]byte("a text"), photo}
						if c.first {
							item = runtime.Item{encoded(b, served.Model.Inputs[0], item[0]), encoded(b, served.Model.Inputs[1], item[1])}
							read.Add(int64(len("a text") + len(photo)))
						}
						r.Items = append(r.Items, item)
					}
					if c.first {
						r.Encoded = nil
					}
					if _, err := e.Infer(b.Context(), "show", "1", r); err != nil {
						b.Error(err)
						return
					}
				}
			})
			took := time.Since(began)
			_, lazily := e.FilesDecoded()
			m := measured{float64(read.Load()+lazily) / float64(b.N), float64(b.N) / took.Seconds()}
			results[c.name] = m
			b.ReportMetric(m.bytes, "decoded_B/op")
			b.ReportMetric(m.rate, "requests/s")
			for _, other := range []string{"all", "mosel_reads_first"} {
				if o, ok := results[other]; ok && c.name == "mosel" {
					b.ReportMetric(math.Round(100*o.bytes/m.bytes)/100, "x_fewer_bytes_than_"+other)
					b.ReportMetric(math.Round(100*m.rate/o.rate)/100, "x_requests/s_of_"+other)
				}
			}
		})
	}
}
