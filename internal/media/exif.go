package media

import (
	"bytes"
	"encoding/binary"
	"image"
)

// orientation is Exif's number for how to turn a stored image upright: 1 not at all, 2
// mirror left to right, 3 rotate by 180 degrees, 4 mirror top to bottom, 5 mirror along
// the diagonal, 6 rotate by 90 degrees clockwise, 7 mirror along the other diagonal, 8
// rotate by 90 degrees counter-clockwise.
type orientation int

const upright orientation = 1

// turned reports whether width and height are swapped.
func (o orientation) turned() bool { return o >= 5 }

// Limits of an Exif directory and the one entry of interest.
const (
	exifEntry          = 12
	exifOrientationTag = 0x0112
	exifShort          = 3
)

// exifOrientation reads the orientation from Exif data, which are a TIFF file without
// an image. Invalid data do not rotate the image: cameras and programs write many odd
// values, and all viewers ignore them.
func exifOrientation(tiff []byte) orientation {
	tiff = bytes.TrimPrefix(tiff, []byte("Exif\x00\x00"))
	if len(tiff) < 8 {
		return upright
	}
	var order binary.ByteOrder
	switch string(tiff[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return upright
	}
	at := uint64(order.Uint32(tiff[4:]))
	if at+2 > uint64(len(tiff)) {
		return upright
	}
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(entries) < exifEntry {
			break
		}
		if order.Uint16(entries) == exifOrientationTag && order.Uint16(entries[2:]) == exifShort {
			if o := orientation(order.Uint16(entries[8:])); o >= 1 && o <= 8 {
				return o
			}
			break
		}
		entries = entries[exifEntry:]
	}
	return upright
}

// apply turns a stored image upright.
func (o orientation) apply(stored *image.RGBA) *image.RGBA {
	if o <= upright {
		return stored
	}
	w, h := stored.Rect.Dx(), stored.Rect.Dy()
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	if o.turned() {
		out = image.NewRGBA(image.Rect(0, 0, h, w))
	}
	for y := range h {
		for x := range w {
			seenX, seenY := x, y
			switch o {
			case upright:
			case 2:
				seenX = w - 1 - x
			case 3:
				seenX, seenY = w-1-x, h-1-y
			case 4:
				seenY = h - 1 - y
			case 5:
				seenX, seenY = y, x
			case 6:
				seenX, seenY = h-1-y, x
			case 7:
				seenX, seenY = h-1-y, w-1-x
			case 8:
				seenX, seenY = y, w-1-x
			}
			copy(out.Pix[out.PixOffset(seenX, seenY):][:4], stored.Pix[stored.PixOffset(x, y):][:4])
		}
	}
	return out
}
