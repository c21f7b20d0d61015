package library

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gofrs/flock"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/internal/slo"
)

const (
	// lockPoll is how often a second process checks whether the first has finished the
	// installation. The delay is small compared with a download.
	lockPoll = 200 * time.Millisecond
	// originBytesMax bounds the record of a library's source, which has two short
	// fields.
	originBytesMax = 4096
	originFile     = "origin.json"
	lockFile       = "install.lock"
	incomplete     = "incomplete-" // prefix of directories of unfinished installations
)

// store is the user's cache of libraries: root/<version>/<os>-<arch> has the library
// and the record of its source. That directory appears complete, by one rename, or not
// at all.
type store struct {
	cache        cachedir.Dir
	root         string // its path
	goos, goarch string
	pins         map[Channel]pin // of this platform, empty if there is no build for it
	sources      []source
	progress     io.Writer
}

// origin is the record of an installed library's source.
type origin struct {
	Channel Channel `json:"channel"`
	SHA256  string  `json:"sha256"` // of the library itself
}

// stores returns the caches in order of preference.
func (c Config) stores() []*store {
	dirs := cachedir.Find("onnxruntime")
	if c.CacheDir != "" {
		dirs = []cachedir.Dir{cachedir.At(c.CacheDir)}
	}
	progress := c.Progress
	if progress == nil {
		progress = io.Discard
	}
	var all []*store
	for _, dir := range dirs {
		all = append(all, &store{
			cache: dir, root: dir.Path, goos: runtime.GOOS, goarch: runtime.GOARCH,
			pins: pins[runtime.GOOS+"/"+runtime.GOARCH], sources: sources(), progress: progress,
		})
	}
	return all
}

// dir returns the directory of the library for this version and platform.
func (s *store) dir() string { return filepath.Join(s.root, Version, s.goos+"-"+s.goarch) }

func (s *store) file() string { return filepath.Join(s.dir(), fileName(s.goos)) }

// lookup returns the installed library if it is there and intact.
func (s *store) lookup() (Location, error) {
	if err := s.cache.Trust(); err != nil {
		return Location{}, err
	}
	record, err := readOrigin(filepath.Join(s.dir(), originFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Location{}, fmt.Errorf("nothing is installed in %s", s.dir())
	}
	if err != nil {
		return Location{}, err
	}
	digest, err := Digest(s.file())
	if err != nil {
		return Location{}, err
	}
	if digest != record.SHA256 {
		return Location{}, fmt.Errorf("%s is damaged: its SHA-256 is %s, but %s was installed", s.file(), digest, record.SHA256)
	}
	return Location{Path: s.file(), Found: Cache, Channel: record.Channel}, nil
}

func readOrigin(file string) (origin, error) {
	f, err := os.Open(file)
	if err != nil {
		return origin{}, err
	}
	defer f.Close()
	var record origin
	if err := json.NewDecoder(io.LimitReader(f, originBytesMax)).Decode(&record); err != nil {
		return origin{}, fmt.Errorf("%s: %w", file, err)
	}
	return record, nil
}

// Digest returns the SHA-256 of a file, in hexadecimal.
func Digest(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// install downloads the library into the cache. A lock stops a second process from
// downloading the same. If the file system has no locks, the rename at the end still
// keeps both safe.
func (s *store) install(ctx context.Context, tried *attempts) (Location, error) {
	op := "install ONNX Runtime " + Version
	if len(s.pins) == 0 {
		tried.add("there is no build of ONNX Runtime %s for %s/%s", Version, s.goos, s.goarch)
		return Location{}, slo.E(op, slo.KindUnsupported, "%w", tried.failure())
	}
	if err := os.MkdirAll(s.root, 0o755); err != nil {
		tried.add("%v", err)
		return Location{}, slo.E(op, slo.KindUnavailable, "%w", tried.failure())
	}
	lock := flock.New(filepath.Join(s.root, lockFile))
	if locked, _ := lock.TryLockContext(ctx, lockPoll); locked {
		defer lock.Unlock() //nolint:errcheck // closing the file frees the lock; the next installation finds out if not
		s.sweep()
	}
	if at, err := s.lookup(); err == nil {
		return at, nil // another process was faster
	}
	for _, from := range s.sources {
		at, err := s.installFrom(ctx, from, s.pins[from.channel()])
		switch {
		case err == nil:
			fmt.Fprintf(s.progress, "ONNX Runtime %s is installed in %s\n", Version, s.dir())
			return at, nil
		case ctx.Err() != nil:
			return Location{}, slo.E(op, slo.KindCancelled, "%w", ctx.Err())
		}
		tried.add("%s: %v", from, err)
	}
	return Location{}, slo.E(op, slo.KindUnavailable, "%w", tried.failure())
}

// sweep removes what killed installations have left. The holder of the lock is the only
// one that installs.
func (s *store) sweep() {
	left, _ := filepath.Glob(filepath.Join(s.root, incomplete+"*"))
	for _, dir := range left {
		_ = os.RemoveAll(dir) // a remaining file only costs disk space
	}
}

// installFrom downloads from one source into a temporary directory next to the final
// one, verifies, unpacks and renames.
func (s *store) installFrom(ctx context.Context, from source, p pin) (Location, error) {
	fmt.Fprintf(s.progress, "installing ONNX Runtime %s, which is needed once: %s ...\n", Version, from)
	temporary, err := os.MkdirTemp(s.root, incomplete)
	if err != nil {
		return Location{}, err
	}
	defer os.RemoveAll(temporary) //nolint:errcheck // the next installation sweeps up
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	archive, err := from.fetch(ctx, p, temporary)
	if err != nil {
		return Location{}, err
	}
	digest, err := Digest(archive)
	if err != nil {
		return Location{}, err
	}
	if digest != p.sha256 {
		return Location{}, fmt.Errorf("%s is not the pinned file: its SHA-256 is %s, not %s", p.archive, digest, p.sha256)
	}
	ready := filepath.Join(temporary, "ready")
	if err := os.Mkdir(ready, 0o755); err != nil {
		return Location{}, err
	}
	record := origin{Channel: from.channel()}
	if record.SHA256, err = unpack(archive, p.member, filepath.Join(ready, filepath.Base(s.file()))); err != nil {
		return Location{}, err
	}
	if err := writeOrigin(filepath.Join(ready, originFile), record); err != nil {
		return Location{}, err
	}
	return s.place(ready, filepath.Join(temporary, "previous"))
}

func writeOrigin(file string, record origin) error {
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// place moves a complete directory to its final place. An existing directory there is
// either a damaged installation, which is moved aside, or one that another process has
// just completed, which is used instead.
func (s *store) place(ready, aside string) (Location, error) {
	if err := os.MkdirAll(filepath.Dir(s.dir()), 0o755); err != nil {
		return Location{}, err
	}
	err := os.Rename(ready, s.dir())
	if err != nil {
		if at, err := s.lookup(); err == nil {
			return at, nil
		}
		_ = os.Rename(s.dir(), aside) // if it is gone already, all the better
		err = os.Rename(ready, s.dir())
	}
	at, missing := s.lookup()
	if missing != nil {
		return Location{}, errors.Join(err, missing)
	}
	return at, nil
}
