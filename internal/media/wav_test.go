package media

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// layoutWAV says how a test's WAV file is written.
type layoutWAV struct {
	form                   string // "" is RIFF
	riff                   uint32 // size in the header; 0: right
	tag                    uint16
	channels, rate         int
	bits, width            int
	extended               bool   // WAVE_FORMAT_EXTENSIBLE
	valid                  uint16 // bits, extended only
	guid                   string // of the sub-format; "": the usual one
	before, between, after string // chunks around the format and the data
	size                   uint32 // of the data, as written
	sizeGiven              bool
	data                   []byte
}

// chunk is a chunk, padded.
func chunk(name, content string) string {
	text := name + string(binary.LittleEndian.AppendUint32(nil, uint32(len(content)))) + content
	if len(content)%2 == 1 {
		text += "\x00"
	}
	return text
}

func (l layoutWAV) file() []byte {
	le := binary.LittleEndian
	tag := l.tag
	if l.extended {
		tag = waveExtensible
	}
	f := le.AppendUint16(nil, tag)
	f = le.AppendUint16(f, uint16(l.channels))
	f = le.AppendUint32(f, uint32(l.rate))
	f = le.AppendUint32(f, uint32(l.rate*l.channels*l.width))
	f = le.AppendUint16(f, uint16(l.channels*l.width))
	f = le.AppendUint16(f, uint16(l.bits))
	if l.extended {
		guid := l.guid
		if guid == "" {
			guid = waveGUID
		}
		f = le.AppendUint16(f, 22)
		f = le.AppendUint16(f, l.valid)
		f = le.AppendUint32(f, 0)
		f = append(le.AppendUint16(f, l.tag), guid...)
	}
	size := l.size
	if !l.sizeGiven {
		size = uint32(len(l.data))
	}
	body := "WAVE" + l.before + chunk("fmt ", string(f)) + l.between + "data" + string(le.AppendUint32(nil, size)) + string(l.data)
	if !l.sizeGiven && len(l.data)%2 == 1 {
		body += "\x00"
	}
	body += l.after
	riff := l.riff
	if riff == 0 {
		riff = uint32(len(body))
	}
	form := l.form
	if form == "" {
		form = "RIFF"
	}
	return append(le.AppendUint32([]byte(form), riff), body...)
}

// mono16 is two samples, +0.5 and -0.5.
func mono16() layoutWAV {
	return layoutWAV{tag: wavePCM, channels: 1, rate: 8000, bits: 16, width: 2, data: pcm16(1<<14, -1<<14)}
}

func with(l layoutWAV, change func(*layoutWAV)) []byte {
	change(&l)
	return l.file()
}

func floats64(values ...float64) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return b
}

// TestWAVForms reads +0.5 and -0.5 in every form that is read.
func TestWAVForms(t *testing.T) {
	list := chunk("LIST", "INFOISFT\x03\x00\x00\x00abc\x00")
	ds64 := func(size uint64) string {
		return chunk("ds64", string(binary.LittleEndian.AppendUint64(make([]byte, 8), size))+strings.Repeat("\x00", 12))
	}
	pcm := func(bits, width int, data string) func(*layoutWAV) {
		return func(l *layoutWAV) { l.bits, l.width, l.data = bits, width, []byte(data) }
	}
	cases := map[string][]byte{
		"8 bits":             with(mono16(), pcm(8, 1, "\xc0\x40")),
		"16 bits":            mono16().file(),
		"12 bits in 2 bytes": with(mono16(), pcm(12, 2, "\x00\x40\x00\xc0")),
		"20 bits in 3 bytes": with(mono16(), pcm(20, 3, "\x00\x00\x40\x00\x00\xc0")),
		"24 bits":            with(mono16(), pcm(24, 3, "\x00\x00\x40\x00\x00\xc0")),
		"24 bits in 4 bytes": with(mono16(), pcm(24, 4, "\x00\x00\x00\x40\x00\x00\x00\xc0")),
		"32 bits":            with(mono16(), pcm(32, 4, "\x00\x00\x00\x40\x00\x00\x00\xc0")),
		"float": with(mono16(), func(l *layoutWAV) {
			l.tag, l.bits, l.width, l.data = waveFloat, 32, 4, []byte("\x00\x00\x00\x3f\x00\x00\x00\xbf")
		}),
		"double":                    with(mono16(), func(l *layoutWAV) { l.tag, l.bits, l.width, l.data = waveFloat, 64, 8, floats64(0.5, -0.5) }),
		"extensible":                with(mono16(), func(l *layoutWAV) { l.extended, l.valid = true, 16 }),
		"extensible, 20 of 24 bits": with(mono16(), func(l *layoutWAV) { l.extended, l.valid = true, 20; pcm(24, 3, "\x00\x00\x40\x00\x00\xc0")(l) }),
		"extensible, 24 of 32 bits": with(mono16(), func(l *layoutWAV) { l.extended, l.valid = true, 24; pcm(32, 4, "\x00\x00\x00\x40\x00\x00\x00\xc0")(l) }),
		"extensible float": with(mono16(), func(l *layoutWAV) {
			l.extended, l.valid, l.tag, l.bits, l.width, l.data = true, 64, waveFloat, 64, 8, floats64(0.5, -0.5)
		}),
		"stereo":                 with(mono16(), func(l *layoutWAV) { l.channels, l.data = 2, pcm16(1<<14, 1<<14, -3<<13, -1<<13) }),
		"chunks around":          with(mono16(), func(l *layoutWAV) { l.before, l.between, l.after = chunk("JUNK", "odd"), list, list }),
		"odd data, then a chunk": with(mono16(), func(l *layoutWAV) { pcm(24, 3, "\x00\x00\x40\x00\x00\xc0\x00")(l); l.after = list }),
		"RF64": with(mono16(), func(l *layoutWAV) {
			l.form, l.riff, l.before, l.size, l.sizeGiven, l.after = "RF64", unknownSize, ds64(4), unknownSize, true, list
		}),
		"BW64": with(mono16(), func(l *layoutWAV) {
			l.form, l.riff, l.before, l.size, l.sizeGiven, l.after = "BW64", unknownSize, ds64(4), unknownSize, true, list
		}),
		"RF64 to a pipe": with(mono16(), func(l *layoutWAV) {
			l.form, l.riff, l.before, l.size, l.sizeGiven = "RF64", unknownSize, ds64(0), unknownSize, true
		}),
		"to a pipe, as ffmpeg writes": with(mono16(), func(l *layoutWAV) { l.riff, l.between, l.size, l.sizeGiven = unknownSize, list, unknownSize, true }),
		"to a pipe, as sox writes":    with(mono16(), func(l *layoutWAV) { l.riff, l.size, l.sizeGiven = 0x7ffff024, 0x7ffff000, true }),
		"to a pipe, no lengths":       bytes.Replace(with(mono16(), func(l *layoutWAV) { l.riff, l.size, l.sizeGiven = unknownSize, 0, true }), []byte("RIFF\xff\xff\xff\xff"), []byte("RIFF\x00\x00\x00\x00"), 1),
	}
	for name, file := range cases {
		got, err := Encode(input(modelpkg.MediaAudio, tensor.FP32, 8000, -1), file)
		if want := []byte{0, 0, 0, 0x3f, 0, 0, 0, 0xbf}; err != nil || !bytes.Equal(got.Data, want) {
			t.Errorf("%s: %v, %v, want 0.5 -0.5", name, got.Data, err)
		}
	}
}

// TestWAVRefusals: what does not fit together, or is not known, is not read.
func TestWAVRefusals(t *testing.T) {
	list := chunk("LIST", strings.Repeat("INFOISFT\x0e\x00\x00\x00Lavf58.29.100\x00", 8))
	cases := []struct {
		name string
		file []byte
		say  string
	}{
		{"no data, then a chunk", with(mono16(), func(l *layoutWAV) { l.data, l.after = nil, list }), "no sound"},
		{"a header that was never completed", with(mono16(), func(l *layoutWAV) { l.riff, l.size, l.sizeGiven = 36, 0, true }), "was not completed"},
		{"cut off", with(mono16(), func(l *layoutWAV) { l.size, l.sizeGiven = 4000, true }), "announces 4000 bytes of sound, and there are 4"},
		{"24 bits at the lower end of 4 bytes", with(mono16(), func(l *layoutWAV) { l.bits, l.width, l.data = 24, 4, []byte("\x01\x00\x40\x00\x00\x00\xc0\xff") }), "wrong end"},
		{"20 bits at the lower end of 3 bytes", with(mono16(), func(l *layoutWAV) { l.bits, l.width, l.data = 20, 3, []byte("\x01\x00\x04\x00\x00\xfc") }), "wrong end"},
		{"8 bits in 2 bytes", with(mono16(), func(l *layoutWAV) { l.bits = 8 }), "8 bits in 2 bytes"},
		{"16 bits in 1 byte", with(mono16(), func(l *layoutWAV) { l.width = 1 }), "16 bits in 1 bytes"},
		{"no frames", with(mono16(), func(l *layoutWAV) { l.width = 0 }), "16 bits in 0 bytes"},
		{"frames that channels cannot share", bytes.Replace(mono16().file(), []byte("\x01\x00\x01\x00"), []byte("\x01\x00\x03\x00"), 1), "3 channels do not fit frames of 2 bytes"},
		{"64 bits", with(mono16(), func(l *layoutWAV) { l.bits, l.width, l.data = 64, 8, make([]byte, 16) }), "64 bits is not supported"},
		{"half floats", with(mono16(), func(l *layoutWAV) { l.tag = waveFloat }), "format 3 with 16 bits"},
		{"ADPCM", with(mono16(), func(l *layoutWAV) { l.tag, l.bits = 0x11, 4 }), "IMA ADPCM"},
		{"a tag that nobody knows", with(mono16(), func(l *layoutWAV) { l.tag = 0x1234 }), "format 4660"},
		{"a sub-format that nobody knows", with(mono16(), func(l *layoutWAV) {
			l.extended, l.guid = true, "\x00\x00\x21\x07\xd3\x11\x86\x44\xc8\xc1\xca\x00\x00\x00"
		}), "sub-format"},
		{"more valid bits than there are", with(mono16(), func(l *layoutWAV) { l.extended, l.valid = true, 24 }), "24 of 16 bits"},
		{"not a number", with(mono16(), func(l *layoutWAV) { l.tag, l.bits, l.width, l.data = waveFloat, 64, 8, floats64(0, math.NaN()) }), "sample 1"},
		{"two format chunks", with(mono16(), func(l *layoutWAV) { l.between = chunk("fmt ", strings.Repeat("\x01\x00", 8)) }), "two format chunks"},
		{"big-endian", with(mono16(), func(l *layoutWAV) { l.form = "RIFX" }), "RIFX"},
		{"MP3", []byte("ID3\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00"), "MP3: convert it"},
		{"M4A", []byte("\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00"), "M4A: convert it"},
	}
	for _, c := range cases {
		_, err := Encode(input(modelpkg.MediaAudio, tensor.FP32, 8000, -1), c.file)
		if err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want %q", c.name, err, c.say)
		}
	}
}

// TestWAVCompanding holds the two laws of G.711 against the values of the standard.
func TestWAVCompanding(t *testing.T) {
	for code, want := range map[byte]int{0xFF: 0, 0x7F: 0, 0x80: 32124, 0x00: -32124, 0xF0: 120, 0xEF: 132, 0x6F: -132, 0xCE: 988} {
		if got := muLaw(code) * (1 << 15); got != float64(want) {
			t.Errorf("mu-law %#x is %v, want %d", code, got, want)
		}
	}
	for code, want := range map[byte]int{0xD5: 8, 0x55: -8, 0xAA: 32256, 0x2A: -32256, 0xC5: 264, 0x85: 4224} {
		if got := aLaw(code) * (1 << 15); got != float64(want) {
			t.Errorf("A-law %#x is %v, want %d", code, got, want)
		}
	}
	for _, tag := range []uint16{waveMuLaw, waveALaw} {
		file := with(mono16(), func(l *layoutWAV) { l.tag, l.bits, l.width, l.data = tag, 8, 1, []byte{0x80, 0x00} })
		got := mustEncode(t, input(modelpkg.MediaAudio, tensor.Int16, 8000, -1), file)
		if v := int16s(got.Data); len(v) != 2 || v[0] < 4000 || v[1] > -4000 {
			t.Errorf("format %d: %v", tag, v)
		}
	}
}

// TestWAVWidths writes random sound in every width and at every number of bits, and
// reads what was written.
func TestWAVWidths(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for bits := 9; bits <= 32; bits++ {
		for width := (bits + 7) / 8; width <= 4; width++ {
			for _, extended := range []bool{false, true} {
				l := layoutWAV{tag: wavePCM, channels: 1 + random.IntN(3), rate: 8000, bits: bits, width: width, extended: extended, between: chunk("LIST", "x")}
				if extended {
					l.bits, l.valid = 8*width, uint16(bits)
				}
				want := make([]float64, 50)
				for i := range want {
					for range l.channels {
						v := random.Int64N(1<<bits) - 1<<(bits-1)
						for b := range width {
							l.data = append(l.data, byte(v<<(8*width-bits)>>(8*b)))
						}
						want[i] += float64(v) / float64(int64(1)<<(bits-1)) / float64(l.channels)
					}
				}
				got, rate, err := readWAV(l.file(), bounds{bytes: workBytesMax})
				if err != nil || rate != 8000 || len(got) != len(want) {
					t.Fatalf("%d bits in %d bytes: %d samples, %v", bits, width, len(got), err)
				}
				for i := range want {
					if math.Abs(got[i]-want[i]) > 1e-9 {
						t.Fatalf("%d bits in %d bytes: sample %d is %v, want %v", bits, width, i, got[i], want[i])
					}
				}
			}
		}
	}
}
