package replay

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/tensor"
)

func mustMetric(t *testing.T, name string) score.Metric {
	t.Helper()
	m, known := score.New(name)
	if !known {
		t.Fatalf("no metric %s", name)
	}
	return m
}

// senses is a model of three classes with a picture, a sound and words. Sample i has the
// label i modulo 3, and its number in each input.
func senses(t *testing.T, samples int) *Samples {
	t.Helper()
	m := &modelpkg.Model{Name: "senses", Dir: t.TempDir(), Labels: []string{"red", "green", "blue"},
		Modalities: []modelpkg.Modality{{Name: "seeing", Inputs: []int{0}}, {Name: "hearing", Inputs: []int{1}}, {Name: "reading", Inputs: []int{2}}},
		Inputs: []modelpkg.Input{
			{Spec: modelpkg.Spec{Name: "picture", DType: tensor.Uint8, Shape: tensor.Shape{2}}, Media: modelpkg.MediaImage, Absent: modelpkg.Absence{Kind: modelpkg.AbsentZeros}},
			{Spec: modelpkg.Spec{Name: "sound", DType: tensor.Int16, Shape: tensor.Shape{3}}, Modality: 1, Absent: modelpkg.Absence{Kind: modelpkg.AbsentSilence, Below: 1e-3}},
			{Spec: modelpkg.Spec{Name: "words", DType: tensor.Uint8, Shape: tensor.Shape{4}}, Modality: 2, Media: modelpkg.MediaText, Absent: modelpkg.Absence{Kind: modelpkg.AbsentBlank}},
		},
		Outputs: []modelpkg.Spec{{Name: "p", DType: tensor.FP32, Shape: tensor.Shape{3}}}}
	var picture, sound, words, label []byte
	for i := range samples {
		picture = append(picture, byte(i), 200)
		for range 3 {
			sound = binary.LittleEndian.AppendUint16(sound, uint16(1000+i))
		}
		words = append(words, byte('A'+i), 'b', 'c', 0)
		label = append(label, byte(i%3))
	}
	n := int64(samples)
	path := filepath.Join(m.Dir, "heldout.npz")
	var file bytes.Buffer
	if err := modelpkg.WriteNPZ(&file, []tensor.Tensor{
		{Name: "picture", DType: tensor.Uint8, Shape: tensor.Shape{n, 2}, Data: picture},
		{Name: "sound", DType: tensor.Int16, Shape: tensor.Shape{n, 3}, Data: sound},
		{Name: "words", DType: tensor.Uint8, Shape: tensor.Shape{n, 4}, Data: words},
		{Name: "label", DType: tensor.Uint8, Shape: tensor.Shape{n}, Data: label},
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
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

func mustShift(t *testing.T, s *Samples, from, until time.Duration, texts ...string) *Shifted {
	t.Helper()
	var shifts []Shift
	for _, text := range texts {
		shift, err := ParseShift(text)
		if err != nil {
			t.Fatal(err)
		}
		shifts = append(shifts, shift)
	}
	shifted, err := s.Shift(shifts, from, until, 7)
	if err != nil {
		t.Fatal(err)
	}
	return shifted
}

// TestShiftedTime checks that only jobs between both instants are shifted.
func TestShiftedTime(t *testing.T) {
	samples := senses(t, 12)
	s := mustShift(t, samples, time.Second, 2*time.Second, "invert:picture")
	for at, want := range map[time.Duration]byte{0: 5, time.Second - 1: 5, time.Second: 250, 2*time.Second - 1: 250, 2 * time.Second: 5} {
		inputs := s.inputs(samples, Job{At: at, Samples: []int32{5}})
		if got := inputs[0].Data[0]; got != want || s.During(at) != (want == 250) {
			t.Errorf("at %v the picture begins with %d, want %d", at, got, want)
		}
	}
	if open := mustShift(t, samples, time.Second, 0, "invert:picture"); !open.During(time.Hour) || open.During(0) {
		t.Error("a shift without an end ends")
	}
	var none *Shifted
	if none.During(0) || none.inputs(samples, Job{Samples: []int32{5}})[0].Data[0] != 5 {
		t.Error("no shift changes something")
	}
	none.Draw([]Job{{Samples: []int32{5}}})
}

// TestShiftsCombine checks that several shifts hold together, for jobs of several items.
func TestShiftsCombine(t *testing.T) {
	samples := senses(t, 12)
	s := mustShift(t, samples, 0, 0, "invert:picture", "gain:sound:0.1", "empty:words:1")
	inputs := s.inputs(samples, Job{Samples: []int32{3, 4}})
	if want := []byte{252, 55, 251, 55}; !bytes.Equal(inputs[0].Data, want) {
		t.Errorf("pictures are %v, want %v", inputs[0].Data, want)
	}
	if got := int16(binary.LittleEndian.Uint16(inputs[1].Row(1))); got != 100 {
		t.Errorf("a sample of 1004 becomes %d, want 100", got)
	}
	if want := make([]byte, 8); !bytes.Equal(inputs[2].Data, want) {
		t.Errorf("words are %v, want zeros", inputs[2].Data)
	}
	if s.String() != "invert:picture gain:sound:0.1 empty:words:1" {
		t.Error(s)
	}
}

// TestEmptyIsAbsent checks that an empty input is what the package calls absent, in about
// the given share of the items, and in the same ones whatever else is sent.
func TestEmptyIsAbsent(t *testing.T) {
	samples := senses(t, 12)
	for k, name := range []string{"picture", "sound", "words"} {
		s := mustShift(t, samples, 0, 0, "empty:"+name+":0.3")
		const items = 2000
		absent := 0
		for i := range items {
			job := Job{First: i, Samples: []int32{int32(i % 12)}}
			inputs := s.inputs(samples, job)
			isAbsent := samples.Model.Inputs[k].IsAbsent(inputs[k].Data)
			if isAbsent {
				absent++
			}
			if again := s.inputs(samples, job); !bytes.Equal(again[k].Data, inputs[k].Data) {
				t.Fatalf("%s: item %d differs when it is sent again", name, i)
			}
			other := (k + 1) % 3
			if !bytes.Equal(inputs[other].Data, samples.Set.Item(i % 12)[other]) {
				t.Fatalf("%s: another input of item %d has changed", name, i)
			}
		}
		if deviation := math.Sqrt(items * 0.3 * 0.7); math.Abs(float64(absent)-items*0.3) > 4*deviation {
			t.Errorf("%s: %d of %d items are empty, want about 30 %%", name, absent, items)
		}
	}
}

// TestEmptyElements checks empty texts of the type BYTES.
func TestEmptyElements(t *testing.T) {
	m := &modelpkg.Model{Inputs: []modelpkg.Input{{Spec: modelpkg.Spec{Name: "s", DType: tensor.Bytes}}}}
	item := [][]byte{append(modelpkg.Element(tensor.Bytes, 12), modelpkg.Element(tensor.Bytes, 3)...)}
	if got := blank(m, item, 0); !bytes.Equal(got[0], make([]byte, 8)) {
		t.Errorf("two empty elements are %v", got[0])
	}
}

// TestEmptyTokens checks that an empty text has only the ids that its tokenizer puts around
// each text, and a mask for them.
func TestEmptyTokens(t *testing.T) {
	samples, err := HeldOut(filepath.Join("..", "..", "models", "emoji"))
	if err != nil {
		t.Fatal(err)
	}
	shifted := mustShift(t, samples, 0, 0, "empty:text:1", "swap:input_ids")
	inputs := shifted.inputs(samples, Job{Samples: []int32{0}})
	ids, mask := numbersOf(tensor.Int64, inputs[1].Data), numbersOf(tensor.Int64, inputs[2].Data)
	if ids[0] != 101 || ids[1] != 102 || mask[0] != 1 || mask[1] != 1 {
		t.Errorf("ids %v with the mask %v begin with other ids than [CLS] and [SEP]", ids, mask)
	}
	for i := 2; i < len(ids); i++ {
		if ids[i] != 0 || mask[i] != 0 {
			t.Errorf("ids %v with the mask %v are not filled up with zeros", ids, mask)
		}
	}
	if before := len(samples.Inputs([]int32{0})[1].Data); before != len(inputs[1].Data) {
		t.Errorf("the ids have %d bytes, before the shift %d", len(inputs[1].Data), before)
	}
	swapped := mustShift(t, samples, 0, 0, "swap:text")
	for i, item := range swapped.items {
		if len(item[1]) != len(samples.Set.Item(i)[1]) {
			t.Fatalf("sample %d has other sizes", i)
		}
		for k, id := range numbersOf(tensor.Int64, item[1]) {
			if m := numbersOf(tensor.Int64, item[2])[k]; (m == 1) != (id != 0) {
				t.Fatalf("sample %d: the ids %v have another text's mask", i, numbersOf(tensor.Int64, item[1]))
			}
		}
	}
}

// TestSwap checks that each sample gets the words of another one and keeps the rest.
func TestSwap(t *testing.T) {
	samples := senses(t, 12)
	s := mustShift(t, samples, 0, 0, "swap:words")
	seen := map[byte]bool{}
	for i, item := range s.items {
		words := item[2][0]
		seen[words] = true
		if words == byte('A'+i) || item[0][0] != byte(i) {
			t.Errorf("sample %d has the words %q and the picture %v", i, item[2], item[0])
		}
	}
	if len(seen) != 12 {
		t.Errorf("%d different words of 12 are left", len(seen))
	}
	if again := mustShift(t, samples, 0, 0, "swap:words"); !bytes.Equal(again.items[3][2], s.items[3][2]) {
		t.Error("the same seed swaps differently")
	}
}

func TestNoise(t *testing.T) {
	samples := senses(t, 12)
	s := mustShift(t, samples, 0, 0, "noise:sound:0.01")
	square, n := 0.0, 0
	for i, item := range s.items {
		for _, v := range numbersOf(tensor.Int16, item[1]) {
			square += (v - float64(1000+i)) * (v - float64(1000+i))
			n++
		}
	}
	if deviation := math.Sqrt(square / float64(n)); deviation < 200 || deviation > 480 {
		t.Errorf("the noise has a deviation of %.0f, want about 328", deviation)
	}
}

// TestLabelsShift checks the share of the classes, and that other jobs keep their samples.
func TestLabelsShift(t *testing.T) {
	samples := senses(t, 60)
	w := load(Constant, 1000, 4*time.Second)
	w.JobSize = 2
	jobs, before := mustJobs(t, w, samples.Len()), mustJobs(t, w, samples.Len())
	s := mustShift(t, samples, time.Second, 3*time.Second, "labels:red:0.9")
	s.Draw(jobs)
	red, all := 0, 0
	used := map[int32]int{}
	for j, job := range jobs {
		if !s.During(job.At) {
			if job.Samples[0] != before[j].Samples[0] || job.Samples[1] != before[j].Samples[1] {
				t.Fatalf("job %d at %v has other samples", j, job.At)
			}
			continue
		}
		for _, sample := range job.Samples {
			all++
			if sample%3 == 0 {
				red++
				used[sample]++
			}
		}
	}
	// A tenth of the items is of any class, and a third of these is red.
	if share := float64(red) / float64(all); math.Abs(share-0.9-0.1/3) > 0.03 {
		t.Errorf("%.3f of %d items are red, want about 0.933", share, all)
	}
	if len(used) != 20 {
		t.Errorf("%d of 20 red samples were used", len(used))
	}
	again := mustJobs(t, w, samples.Len())
	s.Draw(again)
	for j := range again {
		if again[j].Samples[0] != jobs[j].Samples[0] {
			t.Fatal("the same seed draws other samples")
		}
	}
}
