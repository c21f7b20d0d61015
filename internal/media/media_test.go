package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

func input(media modelpkg.Media, d tensor.DType, rate int, shape ...int64) modelpkg.Input {
	return modelpkg.Input{Spec: modelpkg.Spec{Name: "x", DType: d, Shape: shape}, Media: media, SampleRate: rate}
}

// picture is white with a black left half and one red pixel at (w-1, 0).
func picture(w, h int) *image.RGBA {
	p := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			p.Set(x, y, color.White)
			if x < w/2 {
				p.Set(x, y, color.Black)
			}
		}
	}
	p.Set(w-1, 0, color.RGBA{R: 255, A: 255})
	return p
}

func pngOf(t testing.TB, p image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func jpegOf(t testing.TB, p image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, p, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func mustEncode(t *testing.T, in modelpkg.Input, file []byte) tensor.Tensor {
	t.Helper()
	out, err := Encode(in, file)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestImageLayouts(t *testing.T) {
	file := pngOf(t, picture(4, 2))
	red := []byte{255, 0, 0}
	cases := []struct {
		shape tensor.Shape
		want  tensor.Shape
		at    func(data []byte, x, y int) []byte // the pixel's values
		pixel []byte                             // of (3, 0)
	}{
		{tensor.Shape{2, 4}, tensor.Shape{1, 2, 4}, func(d []byte, x, y int) []byte { return d[y*4+x : y*4+x+1] }, []byte{76}},
		{tensor.Shape{-1, -1}, tensor.Shape{1, 2, 4}, func(d []byte, x, y int) []byte { return d[y*4+x : y*4+x+1] }, []byte{76}},
		{tensor.Shape{2, 4, 1}, tensor.Shape{1, 2, 4, 1}, func(d []byte, x, y int) []byte { return d[y*4+x : y*4+x+1] }, []byte{76}},
		{tensor.Shape{2, 4, 3}, tensor.Shape{1, 2, 4, 3}, func(d []byte, x, y int) []byte { return d[3*(y*4+x) : 3*(y*4+x)+3] }, red},
		{tensor.Shape{3, 2, 4}, tensor.Shape{1, 3, 2, 4}, func(d []byte, x, y int) []byte {
			return []byte{d[y*4+x], d[8+y*4+x], d[16+y*4+x]}
		}, red},
	}
	for _, c := range cases {
		got := mustEncode(t, input(modelpkg.MediaImage, tensor.Uint8, 0, c.shape...), file)
		if !got.Shape.Equal(c.want) {
			t.Errorf("%v: shape %v, want %v", c.shape, got.Shape, c.want)
		}
		if p := c.at(got.Data, 3, 0); !bytes.Equal(p, c.pixel) {
			t.Errorf("%v: red pixel is %v, want %v", c.shape, p, c.pixel)
		}
		if p := c.at(got.Data, 0, 1); p[0] != 0 {
			t.Errorf("%v: black pixel is %v", c.shape, p)
		}
	}
}

func TestImageScales(t *testing.T) {
	for name, file := range map[string][]byte{"png": pngOf(t, picture(100, 60)), "jpeg": jpegOf(t, picture(100, 60))} {
		got := mustEncode(t, input(modelpkg.MediaImage, tensor.Uint8, 0, 28, 28), file)
		if len(got.Data) != 28*28 {
			t.Fatalf("%s: %d bytes", name, len(got.Data))
		}
		for _, y := range []int{3, 14, 27} {
			if left, right := got.Data[y*28+5], got.Data[y*28+22]; left > 5 || right < 250 {
				t.Errorf("%s: row %d goes from %d to %d, want black to white", name, y, left, right)
			}
		}
	}
}

func TestImageTransparentIsWhite(t *testing.T) {
	got := mustEncode(t, input(modelpkg.MediaImage, tensor.Uint8, 0, 2, 2), pngOf(t, image.NewNRGBA(image.Rect(0, 0, 2, 2))))
	if !bytes.Equal(got.Data, []byte{255, 255, 255, 255}) {
		t.Errorf("a transparent picture is %v", got.Data)
	}
}

// wavFile builds a WAV file around raw sample bytes.
func wavFile(tag, channels, rate, bits int, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("RIFF\xff\xff\xff\xffWAVE")
	b.WriteString("LIST\x03\x00\x00\x00abc\x00") // an odd chunk that must be skipped
	b.WriteString("fmt ")
	for _, v := range []any{uint32(16), uint16(tag), uint16(channels), uint32(rate),
		uint32(rate * channels * bits / 8), uint16(channels * bits / 8), uint16(bits)} {
		_ = binary.Write(&b, binary.LittleEndian, v)
	}
	b.WriteString("data")
	_ = binary.Write(&b, binary.LittleEndian, uint32(len(data)))
	b.Write(data)
	return b.Bytes()
}

func pcm16(samples ...int16) []byte {
	var b []byte
	for _, s := range samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	return b
}

func int16s(data []byte) []int16 {
	out := make([]int16, len(data)/2)
	for i := range out {
		out[i] = int16(binary.LittleEndian.Uint16(data[2*i:]))
	}
	return out
}

func TestAudioKeepsSixteenBitsAsTheyAre(t *testing.T) {
	want := []int16{0, 1, -1, 32767, -32768, 1234}
	got := mustEncode(t, input(modelpkg.MediaAudio, tensor.Int16, 8000, 8), wavFile(wavePCM, 1, 8000, 16, pcm16(want...)))
	for i, v := range int16s(got.Data) {
		if i < len(want) && v != want[i] || i >= len(want) && v != 0 {
			t.Errorf("sample %d is %d", i, v)
		}
	}
	if !got.Shape.Equal(tensor.Shape{1, 8}) {
		t.Errorf("shape %v", got.Shape)
	}
}

func TestAudioFormats(t *testing.T) {
	half := func(bits int) []byte { // +0.5, -0.5
		switch bits {
		case 8:
			return []byte{192, 64}
		case 24:
			return []byte{0, 0, 0x40, 0, 0, 0xc0}
		default:
			return []byte{0, 0, 0, 0x40, 0, 0, 0, 0xc0}
		}
	}
	float := binary.LittleEndian.AppendUint32(nil, math.Float32bits(0.5))
	float = binary.LittleEndian.AppendUint32(float, math.Float32bits(-0.5))
	cases := map[string][]byte{
		"8":          wavFile(wavePCM, 1, 8000, 8, half(8)),
		"16":         wavFile(wavePCM, 1, 8000, 16, pcm16(1<<14, -1<<14)),
		"24":         wavFile(wavePCM, 1, 8000, 24, half(24)),
		"32":         wavFile(wavePCM, 1, 8000, 32, half(32)),
		"float":      wavFile(waveFloat, 1, 8000, 32, float),
		"stereo":     wavFile(wavePCM, 2, 8000, 16, pcm16(1<<14, 1<<14, -3<<13, -1<<13)),
		"extensible": extensible(wavFile(wavePCM, 1, 8000, 16, pcm16(1<<14, -1<<14))),
		"streamed":   streamed(wavFile(wavePCM, 1, 8000, 16, pcm16(1<<14, -1<<14))),
	}
	for name, file := range cases {
		got := mustEncode(t, input(modelpkg.MediaAudio, tensor.FP32, 8000, -1), file)
		if want := []byte{0, 0, 0, 0x3f, 0, 0, 0, 0xbf}; !bytes.Equal(got.Data, want) {
			t.Errorf("%s: %v, want 0.5 -0.5", name, got.Data)
		}
	}
}

// extensible rewrites a PCM file's format chunk as WAVE_FORMAT_EXTENSIBLE.
func extensible(file []byte) []byte {
	at := bytes.Index(file, []byte("fmt "))
	chunk := append([]byte(nil), file[at+8:at+24]...)
	tag := binary.LittleEndian.Uint16(chunk)
	binary.LittleEndian.PutUint16(chunk, waveExtensible)
	chunk = append(chunk, 22, 0, 16, 0, 0, 0, 0, 0, byte(tag), byte(tag>>8))
	chunk = append(chunk, "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"...)
	out := append([]byte(nil), file[:at+4]...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(chunk)))
	return append(append(out, chunk...), file[at+24:]...)
}

// streamed gives the data chunk the length a program writes to a pipe.
func streamed(file []byte) []byte {
	out := append([]byte(nil), file...)
	binary.LittleEndian.PutUint32(out[bytes.Index(out, []byte("data"))+4:], 0x7ffff000)
	return out
}

// TestAudioResamples plays tones through the resampler: those below half the
// target rate keep their amplitude, those above vanish instead of folding back.
func TestAudioResamples(t *testing.T) {
	cases := []struct {
		from, to int
		hz, gain float64
	}{
		{44100, 8000, 440, 1}, {44100, 8000, 3000, 1}, {44100, 8000, 5000, 0}, {44100, 8000, 12000, 0},
		{8000, 16000, 3000, 1}, {22050, 8000, 1000, 1}, {48000, 16000, 9000, 0},
	}
	for _, c := range cases {
		tone := make([]float64, c.from)
		for i := range tone {
			tone[i] = math.Sin(2 * math.Pi * c.hz * float64(i) / float64(c.from))
		}
		out, err := resample(t.Context(), tone, c.from, c.to)
		if err != nil {
			t.Fatal(err)
		}
		if len(out) != c.to {
			t.Errorf("%+v: %d samples from a second", c, len(out))
		}
		worst := 0.0
		for i := 200; i < len(out)-200; i++ { // the ends hear the silence around the tone
			want := c.gain * math.Sin(2*math.Pi*c.hz*float64(i)/float64(c.to))
			worst = max(worst, math.Abs(out[i]-want))
		}
		if worst > 0.02 {
			t.Errorf("%+v: off by %.4f", c, worst)
		}
	}
}

func TestAudioKeepsTheLoudestStretch(t *testing.T) {
	samples := make([]int16, 100)
	for i := 40; i < 50; i++ {
		samples[i] = 1000
	}
	got := mustEncode(t, input(modelpkg.MediaAudio, tensor.Int16, 8000, 10), wavFile(wavePCM, 1, 8000, 16, pcm16(samples...)))
	for i, v := range int16s(got.Data) {
		if v != 1000 {
			t.Errorf("sample %d is %d, want the loud stretch", i, v)
		}
	}
}

func TestText(t *testing.T) {
	in := input(modelpkg.MediaText, tensor.Uint8, 0, 6)
	for text, want := range map[string]string{"sevne": "sevne\x00", "": "\x00\x00\x00\x00\x00\x00", "seventeen": "sevent"} {
		if got := mustEncode(t, in, []byte(text)); string(got.Data) != want {
			t.Errorf("%q is %q, want %q", text, got.Data, want)
		}
	}
}

func TestErrors(t *testing.T) {
	wav := wavFile(wavePCM, 1, 8000, 16, pcm16(1, 2))
	adpcm := wavFile(2, 1, 8000, 4, []byte{1, 2})
	png := pngOf(t, picture(4, 4))
	huge := append([]byte(nil), png...)
	binary.BigEndian.PutUint32(huge[16:], 1<<20) // the header's width; its checksum is tested after
	audio := input(modelpkg.MediaAudio, tensor.Int16, 8000, 8)
	img := input(modelpkg.MediaImage, tensor.Uint8, 0, 28, 28)
	cases := []struct {
		name string
		in   modelpkg.Input
		file []byte
		kind slo.Kind
	}{
		{"no media", input(modelpkg.MediaNone, tensor.FP32, 0, 3), wav, slo.KindUnsupported},
		{"unknown media", input("smell", tensor.FP32, 0, 3), wav, slo.KindUnsupported},
		{"too long a file", img, make([]byte, FileBytesMax+1), slo.KindTooLarge},
		{"a WAV as picture", img, wav, slo.KindInvalid},
		{"a cut picture", img, png[:len(png)/2], slo.KindInvalid},
		{"a picture to floats", input(modelpkg.MediaImage, tensor.FP32, 0, 28, 28), png, slo.KindUnsupported},
		{"a picture to a line", input(modelpkg.MediaImage, tensor.Uint8, 0, 28), png, slo.KindUnsupported},
		{"absurd target", input(modelpkg.MediaImage, tensor.Uint8, 0, 1<<40, 1<<40), png, slo.KindTooLarge},
		{"a picture as WAV", audio, png, slo.KindInvalid},
		{"ADPCM", audio, adpcm, slo.KindUnsupported},
		{"no channels", audio, wavFile(wavePCM, 0, 8000, 16, nil), slo.KindInvalid},
		{"no rate", audio, wavFile(wavePCM, 1, 0, 16, pcm16(1)), slo.KindInvalid},
		{"no samples", audio, wavFile(wavePCM, 1, 8000, 16, nil), slo.KindInvalid},
		{"only a header", audio, wav[:12], slo.KindInvalid},
		{"sound before its format", audio, append(append([]byte(nil), wav[:12]...), "data\x02\x00\x00\x00ab"...), slo.KindInvalid},
		{"short format", audio, append(append([]byte(nil), wav[:12]...), "fmt \x02\x00\x00\x00ab"...), slo.KindInvalid},
		{"sound to a matrix", input(modelpkg.MediaAudio, tensor.Int16, 8000, 8, 8), wav, slo.KindUnsupported},
		{"no declared rate", input(modelpkg.MediaAudio, tensor.Int16, 0, 8), wav, slo.KindUnsupported},
		{"absurd length", input(modelpkg.MediaAudio, tensor.Int16, 8000, 1<<40), wav, slo.KindTooLarge},
		{"text to floats", input(modelpkg.MediaText, tensor.FP32, 0, 8), []byte("a"), slo.KindUnsupported},
		{"not UTF-8", input(modelpkg.MediaText, tensor.Uint8, 0, 8), []byte{0xff}, slo.KindInvalid},
		{"no text at all", input(modelpkg.MediaText, tensor.Uint8, 0, -1), nil, slo.KindInvalid},
	}
	for _, c := range cases {
		_, err := Encode(c.in, c.file)
		var e *slo.Error
		if !errors.As(err, &e) || e.Kind != c.kind || e.Op == "" {
			t.Errorf("%s: %v, want kind %v", c.name, err, c.kind)
		}
	}
	if _, err := Encode(img, huge); err == nil {
		t.Error("a picture with a broken header is read")
	}
}

func TestImageBounds(t *testing.T) {
	cases := []struct {
		width, height int
		bytes         int64 // by pixel
		l             layout
		fits          bool
	}{
		{6000, 4000, 3, layout{height: 28, width: 28}, true},
		{10000, 10000, 2, layout{height: 224, width: 224}, true},
		{11000, 11000, 10, layout{height: 224, width: 224}, true},
		{10000, 10000, 2, layout{height: 2048, width: 2048}, true},
		{10000, 10000, 17, layout{height: 28, width: 28}, false}, // memory
		{12000, 12000, 3, layout{height: 28, width: 28}, false},  // pixels
		{1, sideMax + 1, 3, layout{height: 28, width: 28}, false},
		{0, 5, 3, layout{height: 28, width: 28}, false},
		{1000, sideMax, 3, layout{height: 28, width: 2000}, false}, // scratch
		{6000, 4000, 3, layout{height: -1, width: -1}, false},      // elements
		{3000, 4000, 3, layout{height: -1, width: -1}, true},
	}
	for _, c := range cases {
		p := stored{width: c.width, height: c.height, bytes: c.bytes * int64(c.width) * int64(c.height)}
		if _, err := c.l.resolve(p, bounds{bytes: workBytesMax}); (err == nil) != c.fits {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func FuzzImage(f *testing.F) {
	f.Add(pngOf(f, picture(5, 3)))
	f.Add(jpegOf(f, picture(9, 9)))
	for name := range fixtures {
		f.Add(fixture(f, name))
	}
	f.Add(inPNG(pngOf(f, picture(5, 3)), exif(binary.BigEndian, 5)))
	f.Add(pngOf(f, image.NewPaletted(image.Rect(0, 0, 3, 3), color.Palette{color.Black, color.White})))
	in := input(modelpkg.MediaImage, tensor.Uint8, 0, 28, 28)
	f.Fuzz(func(t *testing.T, file []byte) {
		out, err := Encode(in, file)
		if err == nil && len(out.Data) != 28*28 {
			t.Fatalf("%d bytes", len(out.Data))
		}
	})
}

func FuzzWAV(f *testing.F) {
	f.Add(wavFile(wavePCM, 1, 8000, 16, pcm16(1, 2, 3)))
	f.Add(wavFile(wavePCM, 2, 44100, 24, make([]byte, 60)))
	f.Add(streamed(wavFile(waveFloat, 1, 16000, 32, make([]byte, 40))))
	f.Add(extensible(wavFile(wavePCM, 1, 8000, 8, []byte{1, 2, 3})))
	f.Add(with(mono16(), func(l *layoutWAV) { l.bits, l.width, l.data = 24, 4, make([]byte, 16) }))
	f.Add(with(mono16(), func(l *layoutWAV) { l.extended, l.valid, l.bits, l.width = true, 12, 16, 2 }))
	f.Add(with(mono16(), func(l *layoutWAV) { l.tag, l.bits, l.width = waveMuLaw, 8, 1 }))
	f.Add(with(mono16(), func(l *layoutWAV) { l.tag, l.bits, l.width, l.data = waveFloat, 64, 8, floats64(1, -1) }))
	f.Add(with(mono16(), func(l *layoutWAV) {
		l.form, l.before, l.size, l.sizeGiven = "RF64", chunk("ds64", "\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00"), unknownSize, true
	}))
	in := input(modelpkg.MediaAudio, tensor.Int16, 8000, 100)
	f.Fuzz(func(t *testing.T, file []byte) {
		out, err := Encode(in, file)
		if err == nil && len(out.Data) != 200 {
			t.Fatalf("%d bytes", len(out.Data))
		}
	})
}
