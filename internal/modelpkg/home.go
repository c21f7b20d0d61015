package modelpkg

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// home is a package's directory, through which its files are opened. Links in it may
// lead anywhere inside root and nowhere else. Paths are always resolved within root, so
// even a link that changes meanwhile cannot lead outside.
type home struct {
	root *os.Root
	at   string // path of the package inside root; "." for the root itself
}

// openHome opens a package. Its links may lead anywhere inside the directory models. If
// models is "", or the package is not in it, or only by a link to it, links may lead to
// files of the package only.
func openHome(models, dir string) (*home, error) {
	if models != "" {
		if at, ok := within(models, dir); ok {
			root, err := os.OpenRoot(models)
			return &home{root, at}, err
		}
	}
	root, err := os.OpenRoot(dir)
	return &home{root, "."}, err
}

// within returns the path of dir inside models, with all links resolved; false if dir
// is outside.
func within(models, dir string) (string, bool) {
	outer, err := filepath.EvalSymlinks(models)
	if err != nil {
		return "", false
	}
	inner, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", false
	}
	if outer, err = filepath.Abs(outer); err != nil {
		return "", false
	}
	if inner, err = filepath.Abs(inner); err != nil {
		return "", false
	}
	at, err := filepath.Rel(outer, inner)
	if err != nil || !filepath.IsLocal(at) {
		return "", false
	}
	return filepath.ToSlash(at), true
}

func (h *home) close() { _ = h.root.Close() } // it was only read

// open opens a regular file of the package. It refuses other files, such as pipes,
// without waiting for a writer.
func (h *home) open(name string) (*os.File, fs.FileInfo, error) {
	f, err := h.root.OpenFile(path.Join(h.at, name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	return regular(f)
}

// openFile is open for an ordinary path.
func openFile(name string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	return regular(f)
}

func regular(f *os.File) (*os.File, fs.FileInfo, error) {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		_ = f.Close() // the first error matters
		return nil, nil, err
	}
	return f, info, nil
}

// readAll reads a whole file of at most this many bytes.
func readAll(f io.Reader, most int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(content)) > most {
		err = errTooLarge(most)
	}
	return content, err
}

// systemFaults are errors caused by the system's state, not by a file: the same package
// may be readable soon.
var systemFaults = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, syscall.EAGAIN, syscall.EBUSY, syscall.ESTALE, syscall.ETIMEDOUT}

// IsSystemFault reports whether an error of this package was caused by the system's
// state, such as too many open files, and not by the package. Then it helps to try
// again, and not to change the package.
func IsSystemFault(err error) bool {
	return slices.ContainsFunc(systemFaults, func(fault error) bool { return errors.Is(err, fault) })
}

// reason returns an error's cause without the operation and path around it, which the
// message already has.
func reason(err error) string {
	cause := err
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		cause = perr.Err
	}
	if strings.Contains(cause.Error(), "path escapes from parent") { // the text of os.Root's error
		return "a link leads out of the package (links must be relative, and stay inside the package or the models directory)"
	}
	return cause.Error()
}
