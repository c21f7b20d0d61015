package media

import (
	"bytes"
	"image"
	"image/color"
	_ "image/jpeg" // registers the JPEG decoder
	_ "image/png"  // registers the PNG decoder

	"golang.org/x/image/draw"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

const (
	// pixelsMax bounds a picture before it is decoded: 24 megapixels is a
	// full-frame camera, and at most about 300 MB while a progressive JPEG of it
	// is decoded.
	pixelsMax = 24 << 20
	// sideMax keeps a picture of one row and millions of columns out of the
	// scaler, whose scratch space grows with one side.
	sideMax = 16 << 10
	// scratchMax bounds the scaler's scratch space: 32 bytes for each of (target
	// width x picture height) cells.
	scratchMax = 16 << 20
)

// layout is how an input lays out a picture. Dynamic sides are -1.
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

// shape is the layout's tensor shape once its sides are known.
func (l layout) shape() tensor.Shape {
	switch {
	case l.channels == 0:
		return tensor.Shape{l.height, l.width}
	case l.planar:
		return tensor.Shape{int64(l.channels), l.height, l.width}
	}
	return tensor.Shape{l.height, l.width, int64(l.channels)}
}

// resolve gives dynamic sides the picture's own size and checks the bounds.
func (l layout) resolve(picture image.Config) (layout, *slo.Error) {
	if picture.Width <= 0 || picture.Height <= 0 {
		return l, slo.E("", slo.KindInvalid, "the picture is empty")
	}
	if picture.Width > sideMax || picture.Height > sideMax || picture.Width*picture.Height > pixelsMax {
		return l, slo.E("", slo.KindTooLarge, "a picture of %dx%d pixels; at most %d pixels and %d on a side are read",
			picture.Width, picture.Height, pixelsMax, sideMax)
	}
	if l.height < 0 {
		l.height = int64(picture.Height)
	}
	if l.width < 0 {
		l.width = int64(picture.Width)
	}
	if l.height == 0 || l.width == 0 || l.height > sideMax || l.width > sideMax ||
		l.height*l.width*int64(max(l.channels, 1)) > elementsMax || l.width*int64(picture.Height) > scratchMax {
		return l, slo.E("", slo.KindTooLarge, "cannot scale a picture of %dx%d pixels to %dx%d",
			picture.Width, picture.Height, l.width, l.height)
	}
	return l, nil
}

// encodeImage decodes a PNG or JPEG and scales it, without keeping its aspect,
// to the declared height and width. Transparent pixels show white behind them.
func encodeImage(spec modelpkg.Spec, file []byte) (tensor.Shape, []byte, *slo.Error) {
	l, err := layoutOf(spec)
	if err != nil {
		return nil, nil, err
	}
	config, _, derr := image.DecodeConfig(bytes.NewReader(file))
	if derr != nil {
		return nil, nil, slo.E("", slo.KindInvalid, "not a PNG or JPEG picture: %w", derr)
	}
	if l, err = l.resolve(config); err != nil {
		return nil, nil, err
	}
	picture, _, derr := image.Decode(bytes.NewReader(file))
	if derr != nil {
		return nil, nil, slo.E("", slo.KindInvalid, "broken picture: %w", derr)
	}
	return l.shape(), l.bytes(l.scale(picture)), nil
}

// scale brings a picture to the layout's size, over white.
func (l layout) scale(picture image.Image) *image.RGBA {
	size := image.Rect(0, 0, int(l.width), int(l.height))
	out := image.NewRGBA(size)
	draw.Draw(out, size, image.NewUniform(color.White), image.Point{}, draw.Src)
	if picture.Bounds().Size() == size.Size() {
		draw.Draw(out, size, picture, picture.Bounds().Min, draw.Over)
	} else {
		draw.CatmullRom.Scale(out, size, picture, picture.Bounds(), draw.Over, nil)
	}
	return out
}

// bytes lays the pixels out as the input wants them.
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
