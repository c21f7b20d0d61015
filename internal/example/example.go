// Package example writes the embedded model package to a directory. That is needed
// because packages are read from directories: ONNX Runtime maps the weights of a graph
// from a file.
package example

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/models"
)

// Name is the name of the example's model.
const Name = models.ExampleName

// profilesDir is the directory of the package that the user may change, because
// `mosel profile` writes profiles to it.
const profilesDir = "profiles"

// attemptsMax bounds the attempts to replace a damaged example, if other processes
// write to the same place.
const attemptsMax = 5

// Dir returns the directory of the example package, in the user's cache or in a
// temporary directory of the user. The first call writes the package, completely or
// not at all, even if several processes do so at the same time. A damaged copy is
// replaced. An intact copy is kept, with the user's profiles in it.
func Dir() (string, error) { return dir(models.Example(), cachedir.Find("example")) }

// dir finds or writes the files in the first usable directory.
func dir(files fs.FS, caches []cachedir.Dir) (string, error) {
	digest, size, err := digestOf(files)
	if err != nil {
		return "", err
	}
	var errs []error
	for _, cache := range caches {
		place := filepath.Join(cache.Path, digest[:16], Name)
		if cache.Trust() == nil && intact(files, place) {
			return place, nil
		}
	}
	for _, cache := range caches {
		place := filepath.Join(cache.Path, digest[:16], Name)
		if err := write(files, cache, place); err != nil {
			errs = append(errs, err)
			continue
		}
		return place, nil
	}
	return "", fmt.Errorf("the built-in example cannot be unpacked, which takes %d MB: %w\nMake room, or name a directory that can be written in XDG_CACHE_HOME or TMPDIR",
		(size+1e6-1)/1e6, errors.Join(errs...))
}

// digestOf returns a SHA-256 over the names, sizes and bytes of all files, in hex, and
// their total size.
func digestOf(files fs.FS) (digest string, size int64, err error) {
	sum := sha256.New()
	err = each(files, func(name string, content []byte) error {
		size += int64(len(content))
		fmt.Fprintf(sum, "%s %d\n", name, len(content))
		_, err := sum.Write(content)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), size, err
}

// each visits every file in a fixed order.
func each(files fs.FS, visit func(name string, content []byte) error) error {
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		return visit(name, content)
	})
}

// errDiffers ends a comparison.
var errDiffers = errors.New("the file differs")

// intact reports whether a directory has all files with the right content. Profiles
// only need to exist.
func intact(files fs.FS, place string) bool {
	return each(files, func(name string, content []byte) error {
		file := filepath.Join(place, filepath.FromSlash(name))
		if path.Dir(name) == profilesDir {
			_, err := os.Stat(file)
			return err
		}
		return compare(file, content)
	}) == nil
}

// compare reads a file in pieces and returns an error if it differs from content.
func compare(file string, content []byte) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	piece := make([]byte, 1<<18)
	for {
		n, err := f.Read(piece)
		if !bytes.HasPrefix(content, piece[:n]) {
			return errDiffers
		}
		content = content[n:]
		switch {
		case errors.Is(err, io.EOF) && len(content) == 0:
			return nil
		case err != nil:
			return err
		}
	}
}

// write puts the files into a temporary directory and then renames it.
func write(files fs.FS, cache cachedir.Dir, place string) (err error) {
	if err := cache.Make(); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(cache.Path, "incomplete-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary) //nolint:errcheck // what cannot be removed is only disk space
	fresh := filepath.Join(temporary, Name)
	err = each(files, func(name string, content []byte) error {
		return writeFile(filepath.Join(fresh, filepath.FromSlash(name)), content)
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return err
	}
	for range attemptsMax {
		if err = os.Rename(fresh, place); err == nil || intact(files, place) {
			return nil // ours, or that of another process
		}
		// The existing directory is damaged. Move it into the temporary directory, which is
		// removed; a server that has its files open can still read them.
		aside, err := os.MkdirTemp(temporary, "damaged-")
		if err != nil {
			return err
		}
		_ = os.Rename(place, filepath.Join(aside, Name)) // another process may have moved it already
	}
	return err
}

// writeFile writes a file, with its parent directories, and syncs it to the disk, so
// that after the later rename the file is complete.
func writeFile(file string, content []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}
