package modelpkg

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Copy copies the files that the model's digest covers to a directory, under the same
// paths. So what is loaded from there is what was checked, even if the package changes.
// A file that has changed since the check is an error of kind invalid.
func (m *Model) Copy(dir string) error {
	h, err := openHome(m.models, m.Dir)
	if err != nil {
		return slo.E("copy "+m.Dir, slo.KindNotFound, "%w", err)
	}
	defer h.close()
	for name, sum := range m.Files {
		if err := m.copyFile(h, name, sum, filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	return nil
}

func (m *Model) copyFile(h *home, name, sum, to string) error {
	op := "copy " + m.File(name)
	from, _, err := h.open(name)
	if err != nil {
		return slo.E(op, slo.KindInvalid, "%w", err)
	}
	defer from.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return slo.E(op, slo.KindInternal, "%w", err)
	}
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return slo.E(op, slo.KindInternal, "%w", err)
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(file, hash), from)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return slo.E(op, slo.KindInternal, "%w", err)
	}
	if hex.EncodeToString(hash.Sum(nil)) != sum {
		return slo.E(op, slo.KindInvalid, "the file has changed since the package was read")
	}
	return nil
}
