package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"math"

	"golang.org/x/image/webp"

	"github.com/mosel-serve/mosel/internal/slo"
)

// stored is what is known about an image before it is decoded.
type stored struct {
	codec
	width, height int
	turn          orientation
	bytes         int64 // of memory that decoding needs, approximately
}

// codec reads one image format.
type codec struct {
	kind   string
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

var (
	codecJPEG = codec{"JPEG", jpeg.DecodeConfig, jpeg.Decode}
	codecPNG  = codec{"PNG", png.DecodeConfig, png.Decode}
	codecWebP = codec{"WebP", webp.DecodeConfig, decodeWebP}
)

// The first bytes of files.
const (
	jpegStart = "\xff\xd8\xff"
	pngStart  = "\x89PNG\r\n\x1a\n"
)

// inspect reads an image's headers.
func inspect(file []byte) (s stored, err *slo.Error) {
	switch {
	case bytes.HasPrefix(file, []byte(jpegStart)):
		s = inspectJPEG(file)
		s.codec = codecJPEG
	case bytes.HasPrefix(file, []byte(pngStart)):
		s = inspectPNG(file)
		s.codec = codecPNG
	case len(file) >= 12 && string(file[:4]) == "RIFF" && string(file[8:12]) == "WEBP":
		if s, err = inspectWebP(file); err != nil {
			return s, err
		}
		s.codec = codecWebP
	default:
		return s, slo.E("", slo.KindInvalid, "not a PNG, JPEG or WebP image%s", otherPicture(file))
	}
	config, cerr := s.config(bytes.NewReader(file))
	if cerr != nil {
		return s, decodeError(s.kind, cerr)
	}
	s.width, s.height = config.Width, config.Height
	s.bytes *= int64(config.Width) * int64(config.Height) // until here it was per pixel
	return s, nil
}

// picture decodes an inspected file.
func (s stored) picture(file io.Reader) (image.Image, *slo.Error) {
	picture, err := s.decode(file)
	if err != nil {
		return nil, decodeError(s.kind, err)
	}
	return picture, nil
}

// decodeError makes the error for a failed decoder: the format's feature is not
// supported, or the file is damaged or truncated.
func decodeError(kind string, err error) *slo.Error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return slo.E("", slo.KindCancelled, "%w", err)
	}
	if errors.As(err, new(jpeg.UnsupportedError)) || errors.As(err, new(png.UnsupportedError)) {
		return slo.E("", slo.KindUnsupported, "this kind of %s image is not supported: %w; save it as an ordinary one", kind, err)
	}
	return slo.E("", slo.KindInvalid, "the %s image is damaged or truncated: %w", kind, err)
}

// inspectJPEG reads the segments before the image data.
func inspectJPEG(file []byte) stored {
	s := stored{turn: upright}
	samples, progressive, converted := int64(3), false, false
	for rest := file[2:]; len(rest) >= 4; {
		if rest[0] != 0xff {
			rest = rest[1:] // as the decoder does
			continue
		}
		marker := rest[1]
		if marker == 0xff || marker == 0 || marker == 1 || marker >= 0xd0 && marker <= 0xd8 { // fill bytes and markers without data
			rest = rest[1:]
			continue
		}
		if marker == 0xda || marker == 0xd9 {
			break // the scan, or the end
		}
		size := int(binary.BigEndian.Uint16(rest[2:]))
		if size < 2 || size+2 > len(rest) {
			break
		}
		segment := rest[4 : size+2]
		switch {
		case marker == 0xe1 && bytes.HasPrefix(segment, []byte("Exif\x00\x00")) && s.turn == upright:
			s.turn = exifOrientation(segment)
		case marker == 0xee && len(segment) >= 12 && string(segment[:5]) == "Adobe":
			converted = converted || segment[11] == 0
		case marker >= 0xc0 && marker <= 0xc2 && len(segment) >= 6:
			progressive = marker == 0xc2
			samples = samplesOf(segment)
			converted = converted || segment[5] == 4 || len(segment) > 6 && segment[6] == 'R'
		}
		rest = rest[size+2:]
	}
	s.bytes = samples
	if progressive {
		s.bytes += 4 * samples // progressive: all coefficients are kept until the end
	}
	if converted {
		s.bytes += 4 // a second image, in red, green and blue
	}
	return s
}

// samplesOf returns the number of samples per pixel that a JPEG's frame header
// declares, rounded up.
func samplesOf(frame []byte) int64 {
	most, sum := int64(1), int64(0)
	for i := range int64(frame[5]) {
		at := 6 + 3*i
		if at+1 >= int64(len(frame)) {
			break
		}
		area := int64(frame[at+1]>>4) * int64(frame[at+1]&15)
		most, sum = max(most, area), sum+area
	}
	return (sum + most - 1) / most
}

// inspectPNG reads the chunks. The orientation may come after the image data.
func inspectPNG(file []byte) stored {
	s := stored{turn: upright, bytes: 4}
	for rest := file[len(pngStart):]; len(rest) >= 12; {
		size, name := uint64(binary.BigEndian.Uint32(rest)), string(rest[4:8])
		if size+12 > uint64(len(rest)) {
			break
		}
		content := rest[8 : 8+size]
		switch {
		case name == "IHDR" && len(content) >= 13:
			if content[8] == 16 {
				s.bytes = 8
			}
			if content[12] != 0 {
				s.bytes *= 2 // interlaced: read in passes, then put together
			}
		case name == "eXIf" && s.turn == upright:
			s.turn = exifOrientation(content)
		}
		rest = rest[12+size:]
	}
	return s
}

// decodeWebP decodes a WebP image. A lossy one stores brightness from 16 to 235 and
// colours from 16 to 240 (BT.601). The decoder returns these numbers unchanged, in a
// type with the range 0 to 255 (JFIF); without a conversion white would be grey.
func decodeWebP(r io.Reader) (image.Image, error) {
	picture, err := webp.Decode(r)
	switch p := picture.(type) {
	case *image.YCbCr:
		widen(p)
	case *image.NYCbCrA:
		widen(&p.YCbCr)
	}
	return picture, err
}

// widen converts an image from the range of BT.601 to that of JFIF.
func widen(p *image.YCbCr) {
	var brightness, colour [256]uint8
	for i := range 256 {
		v := float64(i)
		brightness[i] = uint8(math.Round(min(max((v-16)*255/219, 0), 255)))
		colour[i] = uint8(math.Round(min(max((v-128)*255/224+128, 0), 255)))
	}
	for i, v := range p.Y {
		p.Y[i] = brightness[v]
	}
	for _, plane := range [][]uint8{p.Cb, p.Cr} {
		for i, v := range plane {
			plane[i] = colour[v]
		}
	}
}

// animatedFlag is the bit of a VP8X chunk for an animated image.
const animatedFlag = 1 << 1

// inspectWebP walks through the chunks.
func inspectWebP(file []byte) (stored, *slo.Error) {
	s := stored{turn: upright, bytes: 8} // the image, its transparency, and memory for prediction
	for rest := file[12:]; len(rest) >= 8; {
		size, name := uint64(binary.LittleEndian.Uint32(rest[4:])), string(rest[:4])
		content := rest[8:min(8+size, uint64(len(rest)))]
		switch {
		case name == "VP8X" && len(content) > 0 && content[0]&animatedFlag != 0:
			return s, slo.E("", slo.KindUnsupported, "an animated WebP image is not supported: save one frame as an image")
		case name == "EXIF" && s.turn == upright:
			s.turn = exifOrientation(content)
		}
		rest = rest[min(8+size+size&1, uint64(len(rest))):]
	}
	return s, nil
}

// otherPictures are the first bytes of image formats that are not supported.
var otherPictures = []struct{ prefix, kind string }{
	{"GIF8", "GIF"}, {"BM", "BMP"}, {"II*\x00", "TIFF"}, {"MM\x00*", "TIFF"}, {"\x00\x00\x01\x00", "an icon"}, {"%PDF", "PDF"}, {"<svg", "SVG"},
	{"\xff\x0a", "JPEG XL"}, {"\x00\x00\x00\x0cJXL", "JPEG XL"}, {"\x00\x00\x00\x0cjP", "JPEG 2000"}, {"8BPS", "PSD"},
}

// otherPicture names the other image format of a file, "" if it is not known.
func otherPicture(file []byte) string {
	kind := ""
	for _, other := range otherPictures {
		if bytes.HasPrefix(file, []byte(other.prefix)) {
			kind = other.kind
		}
	}
	if len(file) >= 12 && string(file[4:8]) == "ftyp" {
		switch string(file[8:12]) {
		case "heic", "heix", "mif1", "hevc":
			kind = "HEIC"
		case "avif", "avis":
			kind = "AVIF"
		}
	}
	if kind == "" {
		return ""
	}
	return " but " + kind + ": convert it, for example to PNG"
}
