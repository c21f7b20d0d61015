// Package cachedir finds the directories in which mosel keeps what it can make
// again: the ONNX Runtime library and the built-in example. It exists because the
// usual directory, the user's cache, is missing or read-only in many containers
// and services, and because the fallback, a directory under the system's
// temporary one, is only safe when nobody else can write to it.
package cachedir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Dir is a directory that mosel may keep files in. It need not exist yet.
type Dir struct {
	Path string
	// private: the parent is open to everybody, so the directory must belong to
	// this user and be closed to others.
	private bool
}

// At is a directory of the caller's choice.
func At(path string) Dir { return Dir{Path: path} }

// Find lists the directories for a purpose, such as "onnxruntime", best first:
// $XDG_CACHE_HOME/mosel or the system's equal of it, where the environment names
// one, and mosel-UID in the temporary directory.
func Find(purpose string) []Dir {
	var dirs []Dir
	if cache, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, Dir{Path: filepath.Join(cache, "mosel", purpose)})
	}
	own := filepath.Join(os.TempDir(), "mosel-"+strconv.Itoa(os.Getuid()))
	return append(dirs, Dir{Path: filepath.Join(own, purpose), private: true})
}

// Trust returns an error if others may have put files into the directory. One
// that does not exist is trusted: there is nothing in it.
func (d Dir) Trust() error {
	if !d.private {
		return nil
	}
	own := filepath.Dir(d.Path)
	info, err := os.Lstat(own)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir() || !owned(info) || info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s is not used: it must be a directory of this user that nobody else can write to", own)
	}
	return nil
}

// Make creates the directory, with its parents, and makes sure that files can be
// created in it and that it can be trusted.
func (d Dir) Make() error {
	mode := os.FileMode(0o755)
	if d.private {
		mode = 0o700
	}
	if err := d.Trust(); err != nil { // before anything is made behind a link of others
		return err
	}
	if err := os.MkdirAll(d.Path, mode); err != nil {
		return err
	}
	if err := d.Trust(); err != nil { // others may have been faster
		return err
	}
	probe, err := os.MkdirTemp(d.Path, "probe-")
	if err != nil {
		return err
	}
	return os.Remove(probe)
}
