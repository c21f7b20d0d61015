package replay

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// parity is a model that tells even from odd: input x is INT16 [2], whose first
// value is the sample's number; y is UINT8 of any length.
func parity(t *testing.T, samples int) *Samples {
	t.Helper()
	m := &modelpkg.Model{Name: "parity", Dir: t.TempDir(), Labels: []string{"even", "odd"},
		Inputs: []modelpkg.Input{
			{Spec: modelpkg.Spec{Name: "x", DType: tensor.Int16, Shape: tensor.Shape{2}}},
			{Spec: modelpkg.Spec{Name: "y", DType: tensor.Uint8, Shape: tensor.Shape{-1}}, Modality: 1},
		},
		Outputs: []modelpkg.Spec{{Name: "p", DType: tensor.FP32, Shape: tensor.Shape{2}}}}
	var x, y, label []byte
	for i := range samples {
		x = binary.LittleEndian.AppendUint16(x, uint16(i))
		x = binary.LittleEndian.AppendUint16(x, 7)
		y = append(y, byte(i), 1, 2)
		label = append(label, byte(i%2))
	}
	n := int64(samples)
	path := filepath.Join(m.Dir, "heldout.npz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := modelpkg.WriteNPZ(f, []tensor.Tensor{
		{Name: "x", DType: tensor.Int16, Shape: tensor.Shape{n, 2}, Data: x},
		{Name: "y", DType: tensor.Uint8, Shape: tensor.Shape{n, 3}, Data: y},
		{Name: "label", DType: tensor.Uint8, Shape: tensor.Shape{n}, Data: label},
	}); err != nil {
		t.Fatal(err)
	}
	set, err := modelpkg.OpenSet(path, m)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSamples(m, set)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// oracle answers inference requests over HTTP as mosel does. It is right but
// for samples divisible by 10. A hook may answer instead.
func oracle(t *testing.T, hook func(w http.ResponseWriter, q *oip.Request) bool) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away
		}
		n, err := strconv.Atoi(r.Header.Get(oip.HeaderLength))
		var q oip.Request
		if err != nil || q.Decode(body, n, oip.DefaultLimits()) != nil || r.URL.Path != "/v2/models/parity/infer" {
			t.Errorf("a request for %s that is not in binary form: %v", r.URL.Path, err)
		}
		if hook != nil && hook(w, &q) {
			return
		}
		answerParity(t, w, &q)
	}))
	t.Cleanup(s.Close)
	return s
}

func answerParity(t *testing.T, w http.ResponseWriter, q *oip.Request) {
	rows := q.Inputs[0].Rows()
	if q.Inputs[1].Rows() != rows || len(q.Inputs[1].Data) != 3*rows {
		t.Errorf("%d rows of x, but y is %v", rows, q.Inputs[1].Shape)
	}
	var scores []byte
	for i := range rows {
		sample := binary.LittleEndian.Uint16(q.Inputs[0].Row(i))
		if q.Inputs[1].Row(i)[0] != byte(sample) {
			t.Errorf("x and y belong to different samples")
		}
		odd := float32(sample % 2)
		if sample%10 == 0 {
			odd = 1 - odd
		}
		scores = binary.LittleEndian.AppendUint32(scores, math.Float32bits(1-odd))
		scores = binary.LittleEndian.AppendUint32(scores, math.Float32bits(odd))
	}
	variant := "x"
	if rows > 1 {
		variant = "x:" + strconv.Itoa(rows-1) + ",both:1"
	}
	answer := oip.Response{ModelName: "parity", Outputs: []tensor.Tensor{{Name: "p", DType: tensor.FP32,
		Shape: tensor.Shape{int64(rows), 2}, Data: scores}}, Parameters: oip.Parameters{
		{Name: "variant", Value: oip.String(variant)}, {Name: "expected_accuracy", Value: oip.Float(0.9)},
		{Name: "job", Value: oip.String("j-" + strconv.Itoa(int(binary.LittleEndian.Uint16(q.Inputs[0].Row(0)))))}}}
	body, n, err := answer.Append(nil, []oip.Form{oip.Binary})
	if err != nil {
		t.Error(err)
	}
	w.Header().Set(oip.HeaderLength, strconv.Itoa(n))
	w.Write(body)
}

func runAgainst(t *testing.T, url string, samples *Samples, jobs []Job) (*Log, Report) {
	t.Helper()
	target, err := NewTarget(url, samples, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	log := Run(t.Context(), jobs, target.Send, Options{Concurrency: 64, Grace: GraceDefault})
	return log, log.Report()
}

// TestReplayEndToEnd sends a workload over HTTP and finds the accuracy that the
// server is known to have.
func TestReplayEndToEnd(t *testing.T) {
	samples := parity(t, 50)
	server := oracle(t, nil)
	w := load(Poisson, 5000, 100*time.Millisecond)
	w.JobSize, w.Floors, w.Deadlines = 5, Fixed(0.85), Fixed(60)
	jobs := mustJobs(t, w, samples.Len())
	_, r := runAgainst(t, server.URL, samples, jobs)
	if r.Jobs.OnTime != len(jobs) || r.Items.OnTime != 5*len(jobs) {
		t.Fatalf("%d jobs: %+v %+v", len(jobs), r.Jobs, r.Failures)
	}
	wrong := 0
	for _, j := range jobs {
		for _, s := range j.Samples {
			if s%10 == 0 {
				wrong++
			}
		}
	}
	a := r.Accuracy
	if a.Items-a.Right != wrong || a.Samples != 50 || a.Expected != 0.9 || a.Floor != 0.85 || a.BelowFloor != 0 {
		t.Errorf("%+v, want %d wrong", a, wrong)
	}
	if len(r.Variants) != 2 || r.Variants[0] != (VariantItems{"x", 4 * len(jobs)}) || r.Variants[1] != (VariantItems{"both", len(jobs)}) {
		t.Errorf("%+v", r.Variants)
	}
}

// TestStalledServerIsCharged: the server answers nobody until twenty requests
// are there. A closed loop of few clients would wait for ever; the open loop
// sends them at their times, and each is charged from the instant it was meant
// to be sent until the twentieth has come.
func TestStalledServerIsCharged(t *testing.T) {
	const crowd = 20
	var mu sync.Mutex
	waiting, all := 0, make(chan struct{})
	server := oracle(t, func(http.ResponseWriter, *oip.Request) bool {
		mu.Lock()
		if waiting++; waiting == crowd {
			close(all)
		}
		mu.Unlock()
		<-all
		return false
	})
	samples := parity(t, 10)
	jobs := mustJobs(t, load(Constant, 1000, 40*time.Millisecond), samples.Len())
	log, r := runAgainst(t, server.URL, samples, jobs)
	if r.Jobs.OnTime != 40 {
		t.Fatalf("%+v %+v", r.Jobs, r.Failures)
	}
	for i := range crowd {
		if least := jobs[crowd-1].At - jobs[i].At; log.records[i].latency < least {
			t.Errorf("job %d took %v, but was held for at least %v", i, log.records[i].latency, least)
		}
	}
	if r.Generator.InFlightMax < crowd {
		t.Errorf("%d in flight", r.Generator.InFlightMax)
	}
}

func TestRefusalsAreOutcomes(t *testing.T) {
	refuse := func(status int, words string) func(http.ResponseWriter, *oip.Request) bool {
		return func(w http.ResponseWriter, _ *oip.Request) bool {
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(oip.ErrorBody{Error: words})
			return true
		}
	}
	lie := func(outputs ...tensor.Tensor) func(http.ResponseWriter, *oip.Request) bool {
		return func(w http.ResponseWriter, _ *oip.Request) bool {
			body, n, _ := (&oip.Response{ModelName: "parity", Outputs: outputs}).Append(nil, make([]oip.Form, len(outputs)))
			if n != oip.AllJSON {
				w.Header().Set(oip.HeaderLength, strconv.Itoa(n))
			}
			w.Write(body)
			return true
		}
	}
	samples := parity(t, 4)
	jobs := mustJobs(t, load(Constant, 1000, 3*time.Millisecond), samples.Len())
	cases := []struct {
		name    string
		hook    func(http.ResponseWriter, *oip.Request) bool
		outcome slo.Outcome
		say     string
	}{
		{"shed", refuse(429, "busy"), slo.Shed, "too busy"},
		{"passed", refuse(504, "gone"), slo.Shed, "deadline passed"},
		{"infeasible", refuse(422, "the best is 0.9"), slo.Infeasible, "the best is 0.9"},
		{"failed", refuse(500, "boom"), slo.Failed, "boom"},
		{"no outputs", lie(), slo.Failed, "no outputs"},
		{"wrong outputs", lie(tensor.Tensor{Name: "p", DType: tensor.Uint8, Shape: tensor.Shape{1, 1}, Data: []byte{1}}), slo.Failed, "not FP32"},
	}
	for _, c := range cases {
		_, r := runAgainst(t, oracle(t, c.hook).URL, samples, jobs)
		var want Outcomes
		want.add(c.outcome, 3)
		want.share(3)
		if r.Jobs != want || len(r.Failures) != 1 || !strings.Contains(r.Failures[0].Message, c.say) {
			t.Errorf("%s: %+v %+v", c.name, r.Jobs, r.Failures)
		}
	}
	server := oracle(t, nil)
	server.Close()
	_, r := runAgainst(t, server.URL, samples, jobs)
	if r.Jobs.Failed != 3 || len(r.Failures) != 1 || !strings.Contains(r.Failures[0].Message, "refused") {
		t.Errorf("no server: %+v %+v", r.Jobs, r.Failures)
	}
}

func TestSettle(t *testing.T) {
	spec := func(shape ...int64) modelpkg.Spec {
		return modelpkg.Spec{Name: "x", DType: tensor.FP32, Shape: shape}
	}
	if got, err := settle(spec(3, -1, 2), 30); err != nil || !got.Equal(tensor.Shape{3, 5, 2}) {
		t.Errorf("%v %v", got, err)
	}
	if _, err := settle(spec(-1, -1), 16); err == nil {
		t.Error("two dynamic dimensions are settled")
	}
}

// TestGradeItemsWithoutAnswers: an item that has none is not right, whatever its scores
// say, and the others are judged.
func TestGradeItemsWithoutAnswers(t *testing.T) {
	samples := parity(t, 4)
	var scores []byte
	for _, s := range []float32{1, 0, 0, float32(math.Inf(1)), 1, 0, float32(math.NaN()), 1} {
		scores = binary.LittleEndian.AppendUint32(scores, math.Float32bits(s))
	}
	answer := &client.Response{FailedItems: []int{1, 3}, Outputs: []tensor.Tensor{{Name: "p", DType: tensor.FP32, Shape: tensor.Shape{4, 2}, Data: scores}}}
	var a Answer
	target := &Target{set: samples}
	if err := target.grade(Job{Samples: []int32{0, 1, 2, 3}}, answer, &a); err != nil || !slices.Equal(a.Scores, []float32{1, 0, 1, 0}) {
		t.Errorf("%v, %v", a.Scores, err)
	}
}
