package modelpkg

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// npy makes an array file with the given header.
func npy(major byte, header string, data []byte) []byte {
	length := binary.LittleEndian.AppendUint32(nil, uint32(len(header)))
	if major == 1 {
		length = length[:2]
	}
	return join([]byte(npyMagic), []byte{major, 0}, length, []byte(header), data)
}

// zipped makes an archive of entries, compressed or stored.
func zipped(t testing.TB, method uint16, entries ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		f, err := w.CreateHeader(&zip.FileHeader{Name: e[0], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadNPZ(t *testing.T) {
	// Headers as numpy, an old numpy, and cnpy write them.
	file := zipped(t, zip.Store,
		[2]string{"a.npy", string(npy(1, "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }          \n", []byte("aabbccddeeff")))},
		[2]string{"b.npy", string(npy(2, "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }\n", []byte("xyz")))},
		[2]string{"c.npy", string(npy(3, "{'descr': '<f8', 'fortran_order': True, 'shape': (), }\n", []byte("12345678")))},
		[2]string{"d.npy", string(npy(1, "{'descr': '<b1', 'fortran_order': False, 'shape': (0, 4)}", nil))},
	)
	got, err := ReadNPZ(bytes.NewReader(file), int64(len(file)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	want := "[{a INT16 [2,3] aabbccddeeff} {b UINT8 [3] xyz} {c FP64 [] 12345678} {d BOOL [0,4] }]"
	if s := fmt.Sprintf("%s", got); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}

func TestWriteNPZ(t *testing.T) {
	var arrays []tensor.Tensor
	for d, code := range npyCodes {
		a, err := tensor.New("of "+code, d, tensor.Shape{3, 2}, bytes.Repeat([]byte{7}, 6*d.Size()))
		if err != nil {
			t.Fatal(err)
		}
		arrays = append(arrays, a)
	}
	arrays = append(arrays, tensor.Tensor{Name: "scalar", DType: tensor.Uint8, Shape: tensor.Shape{}, Data: []byte{1}})
	file := npz(t, arrays)
	got, err := ReadNPZ(bytes.NewReader(file), int64(len(file)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprint(got), fmt.Sprint(arrays); a != b {
		t.Errorf("got %s, wrote %s", a, b)
	}
	if !bytes.Equal(file, npz(t, arrays)) {
		t.Error("the same arrays give other bytes")
	}
	if h := headerNPY("<f4", tensor.Shape{5}); len(h)%64 != 0 || !strings.HasSuffix(h, "\n") || !strings.Contains(h, "'shape': (5,), }") {
		t.Errorf("header %q", h)
	}
	if err := WriteNPZ(new(bytes.Buffer), []tensor.Tensor{{Name: "x", DType: tensor.Bytes}}); err == nil {
		t.Error("wrote an array of texts")
	}
}

func TestReadNPZErrors(t *testing.T) {
	header := func(descr, order, shape string) string {
		return fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }\n", descr, order, shape)
	}
	for _, c := range []struct {
		name, entry string
		body        []byte
		want        string
	}{
		{"not an array", "a.txt", nil, "is not an array"},
		{"no magic", "a.npy", []byte("hello there"), "not an .npy array"},
		{"version", "a.npy", npy(9, "", nil), ".npy version 9 is not known"},
		{"long header", "a.npy", join([]byte(npyMagic), []byte{2, 0, 255, 255, 255, 255}), "a header of 4294967295 bytes"},
		{"header cut off", "a.npy", join([]byte(npyMagic), []byte{1, 0, 200, 0}, []byte("{")), "the header is cut off"},
		{"header", "a.npy", npy(1, "{'shape': (1,)}", nil), "is not understood"},
		{"objects", "a.npy", npy(1, header("|O", "False", "1,"), nil), "not supported"},
		{"texts", "a.npy", npy(1, header("<U7", "False", "1,"), nil), "not supported"},
		{"big-endian", "a.npy", npy(1, header(">f4", "False", "1,"), make([]byte, 4)), "big-endian"},
		{"fortran", "a.npy", npy(1, header("<f4", "True", "1, 1"), make([]byte, 4)), "Fortran order"},
		{"shape", "a.npy", npy(1, header("<f4", "False", "99999999999999999999"), nil), "shape (99999999999999999999) is not understood"},
		{"overflow", "a.npy", npy(1, header("<f4", "False", "4294967296, 4294967296, 4294967296"), nil), "overflows"},
		{"lies", "a.npy", npy(1, header("<f4", "False", "1000000000,"), make([]byte, 400)), "more than the file can hold"},
		{"too large", "a.npy", npy(1, header("|u1", "False", "2000000,"), make([]byte, 2000000)), "more than the file can hold or may have"},
		{"short", "a.npy", npy(1, header("<f4", "False", "3,"), make([]byte, 11)), "the data end before"},
		{"long", "a.npy", npy(1, header("<f4", "False", "3,"), make([]byte, 13)), "more data than its shape says"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := zipped(t, zip.Deflate, [2]string{c.entry, string(c.body)})
			_, err := ReadNPZ(bytes.NewReader(file), int64(len(file)), 1<<20)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := ReadNPZ(strings.NewReader("PK"), 2, 1<<20); err == nil {
		t.Error("read what is no archive")
	}
	twice := zipped(t, zip.Store, [2]string{"a.npy", string(npy(1, header("|u1", "False", "0,"), nil))}, [2]string{"a.npy", ""})
	if _, err := ReadNPZ(bytes.NewReader(twice), int64(len(twice)), 1<<20); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("an array twice: %v", err)
	}
	broken := npz(t, setArrays(200))
	broken[len(broken)/8] ^= 0x55
	if _, err := ReadNPZ(bytes.NewReader(broken), int64(len(broken)), 1<<20); err == nil {
		t.Error("a flipped bit was not noticed")
	}
}

func TestOpenSet(t *testing.T) {
	m := loadGood(t)
	s, err := OpenSet(m.File(m.Evaluation.Profile), m)
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() != 4 || !slices.Equal(s.Labels.Values, []float64{0, 1, 0, 1}) || !strings.HasPrefix(s.Digest, "sha256:") {
		t.Errorf("set: %+v", s)
	}
	item := s.Item(3)
	if len(item) != 3 || string(item[0]) != "\x03\x03\x03\x03" || len(item[1]) != 10 || len(item[2]) != 4 || item[1][9] != 3 {
		t.Errorf("item 3: %v", item)
	}
}

func TestOpenSetErrors(t *testing.T) {
	m := loadGood(t)
	for _, c := range []struct {
		name   string
		change func(a []tensor.Tensor) []tensor.Tensor
		want   string
	}{
		{"no label", func(a []tensor.Tensor) []tensor.Tensor { return a[:3] }, `it has no array "label"`},
		{"no input", func(a []tensor.Tensor) []tensor.Tensor { return a[1:] }, `it has no array "image"`},
		{"type", func(a []tensor.Tensor) []tensor.Tensor { a[0].DType = tensor.Int8; return a }, `array "image" is INT8; the input is UINT8`},
		{"shape", func(a []tensor.Tensor) []tensor.Tensor { a[0].Shape = tensor.Shape{4, 4}; return a }, `array "image" has shape [4,4]; it must be the number of samples, then [2,2]`},
		{"samples", func(a []tensor.Tensor) []tensor.Tensor { a[0] = setArrays(2)[0]; return a }, `array "image" has 2 samples; there are 4 labels`},
		{"label's shape", func(a []tensor.Tensor) []tensor.Tensor { a[3].Shape = tensor.Shape{2, 2}; return a }, `array "label" has shape [2,2]`},
		{"label's type", func(a []tensor.Tensor) []tensor.Tensor { a[3].DType = tensor.FP64; return a }, `array "label" is FP64; it must be whole numbers`},
		{"label's range", func(a []tensor.Tensor) []tensor.Tensor { a[3].Data[16] = 2; return a }, `the label of sample 2 is 2; the model has the classes 0 to 1`},
		{"empty", func([]tensor.Tensor) []tensor.Tensor { return setArrays(0) }, `array "label" has shape [0]`},
		{"two faults", func(a []tensor.Tensor) []tensor.Tensor { return a[2:3] }, `it has no array "label"; it has no array "image"; it has no array "wave"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(t, m.Dir, "x.npz", npz(t, c.change(setArrays(4))))
			_, err := OpenSet(m.File("x.npz"), m)
			if slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := OpenSet(m.File("none.npz"), m); slo.KindOf(err) != slo.KindNotFound {
		t.Errorf("no file: %v", err)
	}
}

// TestIntegers checks every integer type at its limits.
func TestIntegers(t *testing.T) {
	for _, c := range []struct {
		dtype tensor.DType
		data  string
		want  []int
	}{
		{tensor.Uint8, "\xff\x01", []int{255, 1}},
		{tensor.Int8, "\xff\x01", []int{-1, 1}},
		{tensor.Uint16, "\xff\xff", []int{65535}},
		{tensor.Int16, "\x00\x80", []int{-32768}},
		{tensor.Uint32, "\xff\xff\xff\xff", []int{math.MaxUint32}},
		{tensor.Int32, "\xff\xff\xff\xff", []int{-1}},
		{tensor.Int64, "\x02\x00\x00\x00\x00\x00\x00\x00", []int{2}},
		{tensor.Uint64, "\xff\xff\xff\xff\xff\xff\xff\xff", []int{-1}},
	} {
		a, err := tensor.New("label", c.dtype, tensor.Shape{int64(len(c.want))}, []byte(c.data))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := integers(a); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, %v", c.dtype, got, err)
		}
	}
}

func TestSamples(t *testing.T) {
	m := loadGood(t)
	path := filepath.Join(t.TempDir(), "deep", "x.samples.npz")
	origin := goodProfile(m, "cpu").Origin()
	s := &Samples{Origin: origin, Labels: score.Labels{Width: 1, Values: []float64{0, 1, 1}}, Variants: map[string]VariantSamples{
		"image": {Predicted: []int{0, 1, 0}, Confidence: []float32{0.5, 0.75, 0.9}},
	}}
	if err := s.Save(m, path); err != nil {
		t.Fatal(err)
	}
	got, err := LoadSamples(m, origin, path)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(s) || !slices.Equal(got.Scores("image"), []float64{1, 1, 0}) {
		t.Errorf("got %v, saved %v", got, s)
	}
	other := origin
	other.RuntimeVersion = "2"
	if _, err := LoadSamples(m, other, path); slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), "another") {
		t.Errorf("samples of another runtime: %v", err)
	}
	if _, err := LoadSamples(m, origin, path+"x"); slo.KindOf(err) != slo.KindNotFound {
		t.Errorf("no file: %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func FuzzNPZ(f *testing.F) {
	f.Add(npz(f, setArrays(2)))
	f.Add(zipped(f, zip.Deflate, [2]string{"a.npy", string(npy(3, "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000,), }", nil))}))
	f.Add([]byte("PK\x05\x06"))
	f.Add(zipped(f, zip.Store, [2]string{"a.npy", string(textNPY(true, "2,", "ab", "c"))}))
	f.Add(zipped(f, zip.Store, [2]string{"a.npy", string(textNPY(false, "1, 2", "ab", "c"))}))
	f.Fuzz(func(t *testing.T, file []byte) {
		const most = 1 << 16
		arrays, err := ReadNPZ(bytes.NewReader(file), int64(len(file)), most)
		total := 0
		for _, a := range arrays {
			total += len(a.Data)
		}
		texts, textErr := readTextsNPZ(bytes.NewReader(file), int64(len(file)), most)
		for _, a := range texts {
			if n, err := a.shape.Elements(); textErr == nil && (err != nil || n != len(a.texts) || n > most) {
				t.Errorf("%v has %d texts", a.shape, len(a.texts))
			}
		}
		if err == nil && total > most {
			t.Errorf("%d bytes were read", total)
		}
	})
}

// FuzzNPY tests the array reader without a checksum before it.
func FuzzNPY(f *testing.F) {
	f.Add(npy(1, "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }\n", make([]byte, 12)))
	f.Add(npy(2, "{'descr': '|u1', 'fortran_order': True, 'shape': (), }", []byte{1}))
	f.Fuzz(func(t *testing.T, file []byte) {
		a, err := readNPY(bytes.NewReader(file), "x", 1<<16)
		if err != nil {
			return
		}
		if n, _ := a.Shape.Elements(); n*a.DType.Size() != len(a.Data) || len(a.Data) > 1<<16 {
			t.Errorf("%v of %v has %d bytes", a.Shape, a.DType, len(a.Data))
		}
	})
}
