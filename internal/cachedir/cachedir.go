// Package cachedir finds directories for files that mosel can make again: the ONNX
// Runtime library and the built-in example. The usual directory is the user's cache,
// which is missing or read-only in many containers and services. The fallback is a
// directory in the system's temporary directory, which is safe only if nobody else can
// write to it.
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
	// private: everybody can write to the parent, so the directory must belong to this
	// user and others must not be able to write to it.
	private bool
}

// At returns a directory of the caller's choice.
func At(path string) Dir { return Dir{Path: path} }

// Find lists the directories for a purpose, such as "onnxruntime", best first: in the
// user's cache ($XDG_CACHE_HOME/mosel or the system's equivalent, if the environment
// has one), and in mosel-UID in the temporary directory.
func Find(purpose string) []Dir {
	var dirs []Dir
	if cache, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, Dir{Path: filepath.Join(cache, "mosel", purpose)})
	}
	own := filepath.Join(os.TempDir(), "mosel-"+strconv.Itoa(os.Getuid()))
	return append(dirs, Dir{Path: filepath.Join(own, purpose), private: true})
}

// Trust returns an error if other users may have put files into the directory. A
// missing directory is trusted.
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
		return fmt.Errorf("%s cannot be used: it must be a directory of this user, and nobody else may be able to write to it", own)
	}
	return nil
}

// Make creates the directory with its parents. It returns an error if files cannot be
// created in it or it cannot be trusted.
func (d Dir) Make() error {
	mode := os.FileMode(0o755)
	if d.private {
		mode = 0o700
	}
	if err := d.Trust(); err != nil { // before anything is created behind a link of another user
		return err
	}
	if err := os.MkdirAll(d.Path, mode); err != nil {
		return err
	}
	if err := d.Trust(); err != nil { // another user may have created it first
		return err
	}
	probe, err := os.MkdirTemp(d.Path, "probe-")
	if err != nil {
		return err
	}
	return os.Remove(probe)
}
