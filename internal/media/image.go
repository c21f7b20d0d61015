package media

import (
	"image"
	"image/color"

	"golang.org/x/image/draw"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

const (
	// workBytesMax bounds the memory for decoding and scaling an image. An ordinary
	// JPEG with 100 megapixels needs 200 MB, a progressive one needs a gigabyte.
	workBytesMax = 3 << 29
	// pixelsMax bounds the size of an image, and is checked first: 128 Mi pixels.
	pixelsMax = 128 << 20
	// sideMax is the longest side that a JPEG can have.
	sideMax = 1<<16 - 1
	// scratchBytes is the scaler's scratch space for each of (target width x picture
	// height) cells.
	scratchBytes = 32
)

// layout is an input's layout of an image. Dynamic sides are -1.
type layout struct {
	height, width int64
	channels      int  // 0: no channel dimension, 1 gray, 3 RGB
	planar        bool // channels come first
}

// layoutOf reads [H,W], [H,W,1], [H,W,3], [1,H,W] or [3,H,W].
func layoutOf(spec modelpkg.Spec) (layout, *slo.Error) {
	s := spec.Shape
	channels := func(d int64) bool { return d == 1 || d == 3 }
	switch {
	case spec.DType != tensor.Uint8:
	case len(s) == 2:
		return layout{height: s[0], width: s[1]}, nil
	case len(s) == 3 && channels(s[2]):
		return layout{height: s[0], width: s[1], channels: int(s[2])}, nil
	case len(s) == 3 && channels(s[0]):
		return layout{height: s[1], width: s[2], channels: int(s[0]), planar: true}, nil
	}
	return layout{}, slo.E("", slo.KindUnsupported,
		"a picture fills UINT8 [height,width], [height,width,3] or [3,height,width], not %v %v", spec.DType, spec.Shape)
}

// shape returns the layout's tensor shape, after resolve.
func (l layout) shape() tensor.Shape {
	switch {
	case l.channels == 0:
		return tensor.Shape{l.height, l.width}
	case l.planar:
		return tensor.Shape{int64(l.channels), l.height, l.width}
	}
	return tensor.Shape{l.height, l.width, int64(l.channels)}
}

// resolve sets dynamic sides to the size of the upright image, and checks the bounds.
func (l layout) resolve(p stored, b bounds) (layout, *slo.Error) {
	if p.width <= 0 || p.height <= 0 {
		return l, slo.E("", slo.KindInvalid, "the image is empty")
	}
	if p.width > sideMax || p.height > sideMax || p.width*p.height > pixelsMax {
		return l, slo.E("", slo.KindTooLarge, "the image has %dx%d pixels; at most %d megapixels and %d pixels per side are read: scale it down first",
			p.width, p.height, pixelsMax/1_000_000, sideMax)
	}
	width, height := int64(p.width), int64(p.height)
	if p.turn.turned() {
		width, height = height, width
	}
	if l.height < 0 {
		l.height = height
	}
	if l.width < 0 {
		l.width = width
	}
	if l.height == 0 || l.width == 0 || l.height > sideMax || l.width > sideMax || l.height*l.width*int64(max(l.channels, 1)) > elementsMax {
		return l, slo.E("", slo.KindTooLarge, "cannot make an input of %dx%d from an image of %dx%d pixels: at most %d values can be made from a file",
			l.width, l.height, width, height, elementsMax)
	}
	need := p.bytes + l.scratch(p)
	if need > b.bytes {
		return l, slo.E("", slo.KindTooLarge, "an image of %dx%d pixels needs %d MB to decode and scale to %dx%d, and the bound is %d MB: scale it down first",
			width, height, need>>20, l.width, l.height, b.bytes>>20)
	}
	return l, b.reserve(need)
}

// scratch returns the memory that scaling needs.
func (l layout) scratch(p stored) int64 {
	width := l.width
	if p.turn.turned() {
		width = l.height
	}
	return width*int64(p.height)*scratchBytes + 8*l.width*l.height
}

// encodeImage decodes a PNG, JPEG or WebP image, rotates it upright by its Exif data,
// and scales it to the declared height and width without keeping its aspect ratio.
// Transparent pixels become white.
func encodeImage(spec modelpkg.Spec, file []byte, b bounds) (tensor.Shape, []byte, *slo.Error) {
	l, err := layoutOf(spec)
	if err != nil {
		return nil, nil, err
	}
	p, err := inspect(file)
	if err != nil {
		return nil, nil, err
	}
	if l, err = l.resolve(p, b); err != nil {
		return nil, nil, err
	}
	picture, err := p.picture(&slowReader{b.ctx, file})
	if err != nil {
		return nil, nil, err
	}
	width, height := int(l.width), int(l.height)
	if p.turn.turned() { // scale first, so that there are fewer pixels to rotate
		width, height = height, width
	}
	return l.shape(), l.bytes(p.turn.apply(scale(picture, width, height))), nil
}

// scale scales an image to a size, on a white background.
func scale(picture image.Image, width, height int) *image.RGBA {
	size := image.Rect(0, 0, width, height)
	out := image.NewRGBA(size)
	draw.Draw(out, size, image.NewUniform(color.White), image.Point{}, draw.Src)
	if picture.Bounds().Size() == size.Size() {
		draw.Draw(out, size, picture, picture.Bounds().Min, draw.Over)
	} else {
		draw.CatmullRom.Scale(out, size, picture, picture.Bounds(), draw.Over, nil)
	}
	return out
}

// bytes returns the pixels in the layout of the input.
func (l layout) bytes(picture *image.RGBA) []byte {
	pixels := len(picture.Pix) / 4
	data := make([]byte, pixels*max(l.channels, 1))
	for i := range pixels {
		p := picture.Pix[4*i : 4*i+4]
		switch {
		case l.channels != 3:
			data[i] = color.GrayModel.Convert(color.RGBA{R: p[0], G: p[1], B: p[2], A: 0xff}).(color.Gray).Y
		case l.planar:
			data[i], data[pixels+i], data[2*pixels+i] = p[0], p[1], p[2]
		default:
			copy(data[3*i:], p[:3])
		}
	}
	return data
}
