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

// home is a package's directory, through which its files are opened. Links in it
// may lead anywhere inside root and nowhere else; the operating system's view of
// the path is never trusted, so a link that changes meanwhile leads nowhere else either.
type home struct {
	root *os.Root
	at   string // the package inside root; "." for the root itself
}

// openHome opens a package. models is the directory inside which its links may
// lead; "" is the package alone, and so is a directory that the package is not in,
// or only by a link to it.
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

// within returns the path of dir inside models, with no link followed out of it.
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

// open opens a regular file of the package. What is no regular file, such as a
// pipe, is refused without waiting for whoever is at its other end.
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
		_ = f.Close() // the error that matters is the first one
		return nil, nil, err
	}
	return f, info, nil
}

// readAll reads a whole file of at most so many bytes.
func readAll(f io.Reader, most int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(content)) > most {
		err = errTooLarge(most)
	}
	return content, err
}

// systemFaults are errors that tell of the system's state, not of a file: the
// same package may be sound in a moment.
var systemFaults = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, syscall.EAGAIN, syscall.EBUSY, syscall.ESTALE, syscall.ETIMEDOUT}

// IsSystemFault reports whether an error of this package tells of the system's
// state, such as too many open files, and not of the package that was read:
// to try again later is worth it, to change the package is not.
func IsSystemFault(err error) bool {
	return slices.ContainsFunc(systemFaults, func(fault error) bool { return errors.Is(err, fault) })
}

// reason is an error's cause without the operation and path around it, which
// the message's own beginning says.
func reason(err error) string {
	cause := err
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		cause = perr.Err
	}
	if strings.Contains(cause.Error(), "path escapes from parent") { // os.Root's words
		return "a link leads out of the package (links must be relative, and stay inside the package or the models directory)"
	}
	return cause.Error()
}
