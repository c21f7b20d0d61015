package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// TestDecoderDoesAsEncode decodes many files at a time: what it makes of each is what
// Encode makes, and a broken one leaves its neighbours alone.
func TestDecoderDoesAsEncode(t *testing.T) {
	image := input(modelpkg.MediaImage, tensor.Uint8, 0, 8, 8)
	sound := input(modelpkg.MediaAudio, tensor.Int16, 8000, 100)
	text := input(modelpkg.MediaText, tensor.Uint8, 0, 4)
	free := input(modelpkg.MediaAudio, tensor.Int16, 8000, -1)
	free.Max = 3
	low := input(modelpkg.MediaText, tensor.Uint8, 0, 4)
	low.Range = &modelpkg.Range{Low: 0, High: 'z'}
	recording := wavFile(wavePCM, 1, 8000, 16, pcm16(1, 2, 3, 4))
	cases := []struct {
		in    modelpkg.Input
		file  []byte
		fault string
	}{
		{image, pngOf(t, picture(20, 30)), ""},
		{image, jpegOf(t, picture(20, 30)), ""},
		{image, jpegOf(t, picture(20, 30))[:200], "the JPEG image is damaged or truncated"},
		{image, recording, "not a PNG, JPEG or WebP image"},
		{sound, recording, ""},
		{sound, nil, "not a WAV or FLAC file"},
		{text, []byte("né"), ""},
		{text, []byte{0xff}, "the text is not UTF-8"},
		{free, recording[:len(recording)-2], "truncated"},
		{free, recording, "the file has length 4, but the model takes at most 3"},
		{low, []byte("a~"), "is 126"},
	}
	var files []File
	for range 5 {
		for i := range cases {
			files = append(files, File{Input: &cases[i].in, Data: cases[i].file})
		}
	}
	d := NewDecoder()
	if err := d.Decode(t.Context(), files); err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		c := cases[i%len(cases)]
		if c.fault != "" {
			if f.Err == nil || slo.KindOf(f.Err) != slo.KindInvalid || !strings.Contains(f.Err.Error(), c.fault) || !strings.HasPrefix(f.Err.Error(), "input \"") {
				t.Errorf("file %d: %v, want %q", i, f.Err, c.fault)
			}
			continue
		}
		if want := mustEncode(t, c.in, c.file); f.Err != nil || !bytes.Equal(f.Item, want.Data) {
			t.Errorf("file %d: % x, want % x; %v", i, f.Item, want.Data, f.Err)
		}
	}
	if n, size := d.Decoded(); n != int64(len(files)) || size == 0 || len(d.room) != 0 || len(d.slots) != 0 {
		t.Errorf("%d files of %d bytes, %d units and %d slots in use", n, size, len(d.room), len(d.slots))
	}
}

// TestDecoderBounds has files that take more memory or time than a request's may.
func TestDecoderBounds(t *testing.T) {
	image, sound := input(modelpkg.MediaImage, tensor.Uint8, 0, 8, 8), input(modelpkg.MediaAudio, tensor.Int16, 16000, 100_000)
	huge := pngOf(t, picture(2, 2))
	copy(huge[16:], []byte{0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10}) // 10,000 x 10,000
	binary.BigEndian.PutUint32(huge[29:], crc32.ChecksumIEEE(huge[12:29]))
	long := wavFile(wavePCM, 1, 8000, 8, make([]byte, 17<<20))
	d := NewDecoder()
	files := []File{{Input: &image, Data: huge}, {Input: &sound, Data: long}}
	if err := d.Decode(t.Context(), files); err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		if f.Err == nil || !strings.Contains(f.Err.Error(), "MB to") {
			t.Errorf("file %d: %v", i, f.Err)
		}
	}
	d.most = time.Nanosecond
	slow := []File{{Input: &sound, Data: wavFile(wavePCM, 1, 8000, 8, bytes.Repeat([]byte{1, 2, 3}, 1<<20))}}
	if err := d.Decode(t.Context(), slow); err != nil || slow[0].Err == nil || !strings.Contains(slow[0].Err.Error(), "it takes more than 1ns to read") {
		t.Errorf("%v, %v", err, slow[0].Err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewDecoder().Decode(ctx, slow); !errors.Is(err, context.Canceled) {
		t.Errorf("%v after the end", err)
	}
	if _, err := (&slowReader{ctx, huge}).Read(make([]byte, 9)); !errors.Is(err, context.Canceled) {
		t.Errorf("a read after the end: %v", err)
	}
}

// TestDecoderWaitsForRoom has files that together need more memory than there is.
func TestDecoderWaitsForRoom(t *testing.T) {
	d := NewDecoder()
	d.room = make(chan struct{}, 8)
	sound := input(modelpkg.MediaAudio, tensor.Int16, 8000, 100)
	recording := wavFile(wavePCM, 1, 8000, 8, make([]byte, 400_000)) // takes 7 units
	files := make([]File, 9)
	for i := range files {
		files[i] = File{Input: &sound, Data: recording}
	}
	if err := d.Decode(t.Context(), files); err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		if f.Err != nil {
			t.Errorf("file %d: %v", i, f.Err)
		}
	}
}
