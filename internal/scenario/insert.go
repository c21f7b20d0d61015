package scenario

import (
	"bytes"
	"os"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Insert puts text between the two lines of a Markdown file that mark a section:
// <!-- begin NAME --> and <!-- end NAME -->. Errors have kind not found (no such
// file) or invalid (no such section).
func Insert(file, name string, text []byte) error {
	op := "write " + file
	old, err := os.ReadFile(file)
	if err != nil {
		return slo.E(op, slo.KindNotFound, "%s", reason(err))
	}
	begin, end := []byte("<!-- begin "+name+" -->\n"), []byte("<!-- end "+name+" -->")
	from := bytes.Index(old, begin)
	to := bytes.Index(old, end)
	if from < 0 || to < from {
		return slo.E(op, slo.KindInvalid, "it has no lines %q and %q", begin[:len(begin)-1], end)
	}
	fresh := bytes.Join([][]byte{old[:from+len(begin)], text, old[to:]}, nil)
	if err := os.WriteFile(file, fresh, 0o644); err != nil {
		return slo.E(op, slo.KindInvalid, "%s", reason(err))
	}
	return nil
}
