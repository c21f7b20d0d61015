package scenario

import (
	"bytes"
	"os"

	"github.com/mosel-serve/mosel/internal/slo"
)

// CheckSection reports, before the work for it is done, whether Insert will find the
// section.
func CheckSection(file, name string) error {
	_, _, _, err := section(file, name)
	return err
}

// Insert puts text between the two lines of a Markdown file that mark a section: <!--
// begin NAME --> and <!-- end NAME -->. Errors have kind not found (no such file) or
// invalid (no such section).
func Insert(file, name string, text []byte) error {
	old, from, to, err := section(file, name)
	if err != nil {
		return err
	}
	fresh := bytes.Join([][]byte{old[:from], text, old[to:]}, nil)
	if err := os.WriteFile(file, fresh, 0o644); err != nil {
		return slo.E("write "+file, slo.KindInvalid, "%s", reason(err))
	}
	return nil
}

// section reads the file and returns where the section begins and ends.
func section(file, name string) (text []byte, from, to int, err error) {
	op := "write " + file
	if text, err = os.ReadFile(file); err != nil {
		return nil, 0, 0, slo.E(op, slo.KindNotFound, "%s", reason(err))
	}
	begin, end := []byte("<!-- begin "+name+" -->\n"), []byte("<!-- end "+name+" -->")
	from, to = bytes.Index(text, begin), bytes.Index(text, end)
	if from < 0 || to < from {
		return nil, 0, 0, slo.E(op, slo.KindInvalid, "it has no lines %q and %q", begin[:len(begin)-1], end)
	}
	return text, from + len(begin), to, nil
}
