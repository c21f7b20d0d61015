package cachedir

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"
)

// CacheBytesMax bounds the files of a cache. The oldest make room.
const CacheBytesMax = 256 << 20

// Cache keeps what takes time to make, in files by key. Whoever uses it must be able to do
// without: a file that is missing, damaged or unreadable is no error, and neither is a
// directory in which nothing can be written. Several processes may use it.
type Cache struct {
	dirs     []Dir
	bytesMax int64
}

// NewCache returns a cache with files of at most that many bytes in the first of these
// directories that can be written.
func NewCache(dirs []Dir, bytesMax int64) *Cache { return &Cache{dirs, bytesMax} }

// format is part of every key. It changes with the form of the files.
const format = "1"

// Key names what is kept by all that decides what it is. The processor is part of every
// key.
func Key(parts ...string) string {
	hash := sha256.New()
	for _, part := range slices.Concat([]string{format, cpuid.CPU.BrandName, strings.Join(cpuid.CPU.FeatureSet(), " ")}, parts) {
		fmt.Fprintf(hash, "%d %s\n", len(part), part)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

const suffix = ".kept"

// Get returns what is kept for a key; false if there is none, or it is damaged.
func (c *Cache) Get(key string) ([]byte, bool) {
	for _, dir := range c.dirs {
		if dir.Trust() != nil {
			continue
		}
		file := filepath.Join(dir.Path, key+suffix)
		content, err := os.ReadFile(file)
		if err != nil || len(content) < sha256.Size {
			continue
		}
		sum := sha256.Sum256(content[sha256.Size:])
		if !bytes.Equal(sum[:], content[:sha256.Size]) {
			continue
		}
		now := time.Now()
		_ = os.Chtimes(file, now, now) // it is used, and not among the oldest
		return content[sha256.Size:], true
	}
	return nil, false
}

// Put keeps something in the first directory that can be written. Its error is for the log.
func (c *Cache) Put(key string, content []byte) error {
	if int64(len(content)) > c.bytesMax/2 {
		return fmt.Errorf("%d bytes are too many to keep", len(content))
	}
	var failed error
	for _, dir := range c.dirs {
		err := dir.Make()
		if err == nil {
			err = write(filepath.Join(dir.Path, key+suffix), content)
		}
		if err == nil {
			return c.sweep(dir.Path)
		}
		failed = cmp.Or(failed, err)
	}
	return failed
}

// write makes a file complete or not at all.
func write(name string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(name), "incomplete-")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	_, err = file.Write(slices.Concat(sum[:], content))
	err = cmp.Or(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		_ = os.Remove(file.Name()) // the sweep removes it otherwise
	}
	return err
}

// stale is the age of an unfinished file that nobody writes any more.
const stale = time.Hour

// sweep removes the oldest files while there are too many bytes.
func (c *Cache) sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	sum := int64(0)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		switch {
		case strings.HasSuffix(info.Name(), suffix):
			files = append(files, info)
			sum += info.Size()
		case strings.HasPrefix(info.Name(), "incomplete-") && time.Since(info.ModTime()) > stale:
			_ = os.Remove(filepath.Join(dir, info.Name())) // the next sweep tries again
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range files {
		if sum <= c.bytesMax {
			break
		}
		if err := os.Remove(filepath.Join(dir, info.Name())); err == nil {
			sum -= info.Size()
		}
	}
	return nil
}
