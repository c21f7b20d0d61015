package modelpkg

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

func TestReadNPY(t *testing.T) {
	header := "{'descr': '<i2', 'fortran_order': False, 'shape': (3,), }\n"
	for name, start := range map[string]string{
		"version 1": npyMagic + "\x01\x00" + string([]byte{byte(len(header)), 0}),
		"version 2": npyMagic + "\x02\x00" + string([]byte{byte(len(header)), 0, 0, 0}),
	} {
		file := []byte(start + header + "\x01\x00\x02\x00\x03\x00")
		got, err := ReadNPY(file, "x")
		if err != nil || got.DType != tensor.Int16 || !got.Shape.Equal(tensor.Shape{3}) || !bytes.Equal(got.Data, file[len(file)-6:]) || !IsNPY(file) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		for broken, say := range map[string]string{
			string(file[:len(file)-1]):                         "end before",
			string(file) + "x":                                 "more data",
			strings.Replace(string(file), "<i2", ">i2", 1):     "big-endian",
			strings.Replace(string(file), "<i2", "<U2", 1):     "not supported",
			strings.Replace(string(file), "(3,)", "(9,)", 1):   "end before",
			strings.Replace(string(file), "descr", "desks", 1): "not understood",
		} {
			if _, err := ReadNPY([]byte(broken), "x"); err == nil || !strings.Contains(err.Error(), say) {
				t.Errorf("%s: %v, want %q", name, err, say)
			}
		}
	}
	if IsNPY([]byte("RIFF")) || IsNPY(nil) {
		t.Error("other files are arrays")
	}
}
