package media

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"runtime"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// Pictures of 16x8 pixels, the left half red and the right half white, of the kinds
// that Go's standard library cannot write; Pillow wrote them.
var fixtures = map[string]string{
	"CMYK JPEG": "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAIBgYHBgUIBwcHCQkICgwUDQwLCwwZEhMPFB0aHx4dGhwcICQuJyAiLCMcHCg3KSwwMTQ0NB8nOT04MjwuMzQy/8AA" +
		"FAgACAAQBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFBBhNRYQci" +
		"cRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqi" +
		"o6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkASwAAPwD3+vn+vn+vf6K+/wCvv+iv/9k=",
	"progressive JPEG": "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1xeXBkeFxlZ2P/" +
		"2wBDARESEhgVGC8aGi9jQjhCY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2P/wgARCAAIABADASIAAhEBAxEB/8QA" +
		"FgABAQEAAAAAAAAAAAAAAAAAAAQG/8QAFQEBAQAAAAAAAAAAAAAAAAAAAwT/2gAMAwEAAhADEAAAAYtaFf8A/8QAFBABAAAAAAAAAAAAAAAAAAAAEP/aAAgB" +
		"AQABBQI//8QAFhEAAwAAAAAAAAAAAAAAAAAAAARB/9oACAEDAQE/AXYf/8QAFREBAQAAAAAAAAAAAAAAAAAAAAP/2gAIAQIBAT8Bm//EABQQAQAAAAAAAAAA" +
		"AAAAAAAAABD/2gAIAQEABj8CP//EABQQAQAAAAAAAAAAAAAAAAAAABD/2gAIAQEAAT8hP//aAAwDAQACAAMAAAAQA//EABURAQEAAAAAAAAAAAAAAAAAAMEA" +
		"/9oACAEDAQE/EFL/xAAVEQEBAAAAAAAAAAAAAAAAAAAAQf/aAAgBAgEBPxC3/8QAFBABAAAAAAAAAAAAAAAAAAAAEP/aAAgBAQABPxA//9k=",
	"lossy WebP":    "UklGRjgAAABXRUJQVlA4ICwAAABwAQCdASoQAAgAAUAmJaACdAFAAAD+73I//7Eg//zWB/1C//Sx3//SkAAAAA==",
	"lossless WebP": "UklGRiYAAABXRUJQVlA4TBoAAAAvD8ABAA8w//M///MfWhALJvOX7kwhov+hAw==",
	"transparent WebP": "UklGRmQAAABXRUJQVlA4WAoAAAAQAAAADwAABwAAQUxQSBIAAAABDzD/ERFCLJjMX7ozhYj+Rw5WUDggLAAAAHABAJ0BKhAACAABQCYloAJ0AUAAAP76Xf//" +
		"c3sf+awP+oX/6WO//6UgAAAA",
	"turned WebP": "UklGRmwAAABXRUJQVlA4WAoAAAAIAAAADwAABwAAVlA4ICwAAABwAQCdASoQAAgAAUAmJaACdAFAAAD+73I//7Eg//zWB/1C//Sx3//SkAAAAEVYSUYaAAAA" +
		"TU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAA=",
	"turned PNG": "iVBORw0KGgoAAAANSUhEUgAAABAAAAAICAIAAAB/FOjAAAAAGmVYSWZNTQAqAAAACAABARIAAwAAAAEABgAAAAAAANZnS2kAAAAZSURBVHicY/zPgAP8xy7D" +
		"hEs9LjCqgRgAAGuiAw3mF97cAAAAAElFTkSuQmCC",
	"turned JPEG": "/9j/4AAQSkZJRgABAQAAAQABAAD/4QAiRXhpZgAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9" +
		"PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1xeXBkeFxlZ2P/2wBDARESEhgVGC8aGi9jQjhCY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2Nj" +
		"Y2NjY2NjY2NjY2NjY2P/wAARCAAIABADASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQID" +
		"AAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWG" +
		"h4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAA" +
		"AAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5" +
		"OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk" +
		"5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIRAxEAPwDFr1qiiuXDdT3s6+x8/wBD/9k=",
	"animated WebP": "UklGRsAAAABXRUJQVlA4WAoAAAACAAAADwAABwAAQU5JTQYAAAAAAAAAAABBTk1GRgAAAAAAAAAAAA8AAAcAAGQAAAJWUDggLgAAALABAJ0BKhAACAABQCYl" +
		"oAADXzQOC+gA/vaJ3/bQIf//5rA/6hf//0sd//0pAABBTk1GRgAAAAAAAAAAAA8AAAcAAGQAAABWUDggLgAAADQBAJ0BKhAACAAAACYloAADcAD++1Xj//9L" +
		"g//6XB//0uD/0uD/+tXlV6yroAA=",
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	file, err := base64.StdEncoding.DecodeString(fixtures[name])
	if err != nil || len(file) == 0 {
		t.Fatalf("%s: %v", name, err)
	}
	return file
}

// TestPictureKinds reads red and white out of every kind of picture; in the
// transparent one white is what shows through.
func TestPictureKinds(t *testing.T) {
	for _, name := range []string{"CMYK JPEG", "progressive JPEG", "lossy WebP", "lossless WebP", "transparent WebP"} {
		got := mustEncode(t, input(modelpkg.MediaImage, tensor.Uint8, 0, -1, -1, 3), fixture(t, name))
		if !got.Shape.Equal(tensor.Shape{1, 8, 16, 3}) {
			t.Errorf("%s: shape %v", name, got.Shape)
			continue
		}
		pixel := func(x, y int) []byte { return got.Data[3*(16*y+x):][:3] }
		if p := pixel(3, 4); p[0] < 240 || p[1] > 20 || p[2] > 20 {
			t.Errorf("%s: the left is %v, want red", name, p)
		}
		if p := pixel(12, 4); min(p[0], p[1], p[2]) < 240 {
			t.Errorf("%s: the right is %v, want white", name, p)
		}
	}
}

// TestPicturesAreTurned: the same pictures with orientation 6 in their Exif data are
// seen turned clockwise, the red half above.
func TestPicturesAreTurned(t *testing.T) {
	for _, name := range []string{"turned WebP", "turned PNG", "turned JPEG"} {
		got := mustEncode(t, input(modelpkg.MediaImage, tensor.Uint8, 0, -1, -1, 3), fixture(t, name))
		if !got.Shape.Equal(tensor.Shape{1, 16, 8, 3}) {
			t.Errorf("%s: shape %v", name, got.Shape)
			continue
		}
		above, below := got.Data[3*(8*4+4):][:3], got.Data[3*(8*12+4):][:3]
		if above[0] < 240 || above[1] > 20 || below[1] < 240 {
			t.Errorf("%s: %v above %v, want red above white", name, above, below)
		}
	}
}

// TestPNGForms reads what PNG has and JPEG has not.
func TestPNGForms(t *testing.T) {
	palette := image.NewPaletted(image.Rect(0, 0, 2, 1), color.Palette{color.NRGBA{R: 255, A: 255}, color.NRGBA{}})
	palette.SetColorIndex(1, 0, 1)
	deep := image.NewNRGBA64(image.Rect(0, 0, 2, 1))
	deep.Set(0, 0, color.NRGBA64{R: 0xffff, A: 0xffff})
	half := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	half.Set(0, 0, color.NRGBA{R: 255, A: 255})
	half.Set(1, 0, color.NRGBA{B: 255, A: 0})
	for name, p := range map[string]image.Image{"palette with a transparent colour": palette, "16 bits": deep, "transparent blue": half} {
		got := mustEncode(t, input(modelpkg.MediaImage, tensor.Uint8, 0, 1, 2, 3), pngOf(t, p))
		if want := []byte{255, 0, 0, 255, 255, 255}; !bytes.Equal(got.Data, want) {
			t.Errorf("%s: %v, want red and the white behind", name, got.Data)
		}
	}
}

// exif is Exif data with an orientation, after another entry.
func exif(order binary.AppendByteOrder, value int) []byte {
	b := []byte("II*\x00")
	if order == binary.AppendByteOrder(binary.BigEndian) {
		b = []byte("MM\x00*")
	}
	b = order.AppendUint32(b, 8)
	b = order.AppendUint16(b, 2)
	for _, entry := range [][2]int{{0x010F, 0}, {exifOrientationTag, value}} {
		b = order.AppendUint16(b, uint16(entry[0]))
		b = order.AppendUint16(b, exifShort)
		b = order.AppendUint32(b, 1)
		b = order.AppendUint16(b, uint16(entry[1]))
		b = order.AppendUint16(b, 0)
	}
	return order.AppendUint32(b, 0)
}

// inJPEG puts Exif data behind a JPEG's first marker.
func inJPEG(file, exif []byte) []byte {
	segment := append([]byte("Exif\x00\x00"), exif...)
	head := binary.BigEndian.AppendUint16([]byte("\xff\xd8\xff\xe1"), uint16(len(segment)+2))
	return append(append(head, segment...), file[2:]...)
}

// inPNG puts Exif data before a PNG's last chunk, IEND.
func inPNG(file, exif []byte) []byte {
	body := append([]byte("eXIf"), exif...)
	c := binary.BigEndian.AppendUint32(nil, uint32(len(exif)))
	c = binary.BigEndian.AppendUint32(append(c, body...), crc32.ChecksumIEEE(body))
	end := len(file) - 12
	return append(append(append([]byte(nil), file[:end]...), c...), file[end:]...)
}

// TestOrientations stores a picture in all eight ways, as the definition of the tag
// says where its first row and column are seen, and sees it upright each time.
func TestOrientations(t *testing.T) {
	const w, h = 24, 16 // seen; whole blocks of a JPEG, four colours in its quarters
	seen := func(x, y int) color.Color {
		return []color.Color{color.Gray{0}, color.Gray{80}, color.Gray{160}, color.Gray{240}}[x*2/w+2*(y*2/h)]
	}
	// place is where the pixel of a stored row and column is seen.
	place := map[int]func(row, column int) (x, y int){
		1: func(r, c int) (int, int) { return c, r },                 // row 0 on top, column 0 at the left
		2: func(r, c int) (int, int) { return w - 1 - c, r },         // top, right
		3: func(r, c int) (int, int) { return w - 1 - c, h - 1 - r }, // bottom, right
		4: func(r, c int) (int, int) { return c, h - 1 - r },         // bottom, left
		5: func(r, c int) (int, int) { return r, c },                 // left, top
		6: func(r, c int) (int, int) { return w - 1 - r, c },         // right, top
		7: func(r, c int) (int, int) { return w - 1 - r, h - 1 - c }, // right, bottom
		8: func(r, c int) (int, int) { return r, h - 1 - c },         // left, bottom
	}
	for o := 1; o <= 8; o++ {
		size := image.Rect(0, 0, w, h)
		if o >= 5 {
			size = image.Rect(0, 0, h, w)
		}
		stored := image.NewGray(size)
		for y := range size.Dy() {
			for x := range size.Dx() {
				stored.Set(x, y, seen(place[o](y, x)))
			}
		}
		for name, file := range map[string][]byte{
			"JPEG, little-endian": inJPEG(jpegOf(t, stored), exif(binary.LittleEndian, o)),
			"JPEG, big-endian":    inJPEG(jpegOf(t, stored), exif(binary.BigEndian, o)),
			"PNG":                 inPNG(pngOf(t, stored), exif(binary.BigEndian, o)),
		} {
			for _, shape := range []tensor.Shape{{h, w}, {-1, -1}, {h / 2, w / 2}} {
				got := mustEncode(t, input(modelpkg.MediaImage, tensor.Uint8, 0, shape...), file)
				gh, gw := int(got.Shape[1]), int(got.Shape[2])
				if shape[0] < 0 && (gh != h || gw != w) {
					t.Fatalf("%d, %s: shape %v", o, name, got.Shape)
				}
				for _, at := range [][2]int{{1, 1}, {3, 1}, {1, 3}, {3, 3}} {
					x, y := at[0]*gw/4, at[1]*gh/4
					want := seen(x*w/gw, y*h/gh).(color.Gray).Y
					if v := got.Data[y*gw+x]; max(v, want)-min(v, want) > 12 {
						t.Errorf("%d, %s, %v: (%d,%d) is %d, want %d", o, name, shape, x, y, v, want)
					}
				}
			}
		}
	}
}

// TestOddExif: what is broken turns nothing and stops nothing.
func TestOddExif(t *testing.T) {
	good := exif(binary.LittleEndian, 6)
	if exifOrientation(good) != 6 {
		t.Fatal("the good one is not read")
	}
	for n := range len(good) - 8 { // the orientation is at the end
		if o := exifOrientation(good[:n]); o != upright {
			t.Errorf("cut to %d bytes: %d", n, o)
		}
	}
	for _, value := range []int{0, 9, 255, 65535} {
		if o := exifOrientation(exif(binary.BigEndian, value)); o != upright {
			t.Errorf("%d: %d", value, o)
		}
	}
	file := jpegOf(t, picture(4, 2))
	got := mustEncode(t, input(modelpkg.MediaImage, tensor.Uint8, 0, -1, -1), inJPEG(file, []byte("II*\x00\xff\xff\xff\xff")))
	if !got.Shape.Equal(tensor.Shape{1, 2, 4}) {
		t.Errorf("shape %v", got.Shape)
	}
}

// TestPicturesThatAreNotRead says which kind it is, or what is wrong.
func TestPicturesThatAreNotRead(t *testing.T) {
	cut := func(file []byte) []byte { return file[:2*len(file)/3] }
	big := pngOf(t, picture(4, 4))
	binary.BigEndian.PutUint32(big[16:], 20000)
	binary.BigEndian.PutUint32(big[20:], 20000)
	binary.BigEndian.PutUint32(big[29:], crc32.ChecksumIEEE(big[12:29]))
	cases := map[string]struct {
		file []byte
		say  string
	}{
		"animated WebP": {fixture(t, "animated WebP"), "animated"},
		"cut WebP":      {cut(fixture(t, "lossy WebP")), "damaged or truncated"},
		"cut JPEG":      {cut(jpegOf(t, picture(64, 64))), "the JPEG image is damaged or truncated"},
		"cut PNG":       {cut(pngOf(t, picture(64, 64))), "the PNG image is damaged or truncated"},
		"GIF":           {[]byte("GIF89a\x01\x00\x01\x00"), "but GIF"},
		"HEIC":          {[]byte("\x00\x00\x00\x18ftypheic\x00\x00"), "but HEIC: convert it"},
		"nothing":       {nil, "not a PNG, JPEG or WebP image"},
		"400 MP":        {big, "20000x20000 pixels; at most 134 megapixels"},
	}
	for name, c := range cases {
		_, err := Encode(input(modelpkg.MediaImage, tensor.Uint8, 0, 28, 28), c.file)
		if err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want %q", name, err, c.say)
		}
	}
}

// TestDecodingTakesWhatWasSaid compares the memory that a picture was expected to
// take with what its decoder asked for.
func TestDecodingTakesWhatWasSaid(t *testing.T) {
	const side = 512
	grey, rgb, deep := image.NewGray(image.Rect(0, 0, side, side)), image.NewNRGBA(image.Rect(0, 0, side, side)), image.NewNRGBA64(image.Rect(0, 0, side, side))
	files := map[string][]byte{
		"grey PNG": pngOf(t, grey), "PNG": pngOf(t, rgb), "16-bit PNG": pngOf(t, deep), "JPEG": jpegOf(t, rgb), "grey JPEG": jpegOf(t, grey),
	}
	for name, file := range files {
		s, serr := inspect(file)
		if serr != nil {
			t.Fatalf("%s: %v", name, serr)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := s.picture(bytes.NewReader(file)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		if took := int64(after.TotalAlloc - before.TotalAlloc); took > s.bytes*11/10+1<<18 {
			t.Errorf("%s took %d bytes, %d were expected", name, took, s.bytes)
		}
	}
	for name, want := range map[string]int64{"CMYK JPEG": 4 + 4, "progressive JPEG": 5 * 2, "lossy WebP": 8} {
		if s, err := inspect(fixture(t, name)); err != nil || s.bytes != want*16*8 {
			t.Errorf("%s: %d bytes for each pixel, %v, want %d", name, s.bytes/(16*8), err, want)
		}
	}
}

// TestPanoramas: a side may be as long as a JPEG's can be.
func TestPanoramas(t *testing.T) {
	long := image.NewGray(image.Rect(0, 0, sideMax, 8))
	for i := range long.Pix {
		if i%sideMax > sideMax/2 {
			long.Pix[i] = 255
		}
	}
	got := mustEncode(t, input(modelpkg.MediaImage, tensor.Uint8, 0, 1, 28), pngOf(t, long))
	if got.Data[2] > 5 || got.Data[25] < 250 {
		t.Errorf("%v, want black to white", got.Data)
	}
}
