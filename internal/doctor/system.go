package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
)

const (
	// filesBase and filesPerPackage are file descriptors of a server beside its connections,
	// somewhat more than it needs.
	filesBase, filesPerPackage = 150, 8
	// spare is the free space below which a disk is nearly full.
	spare = 1 << 30
	// askTime is how long a server on a taken address has to say what it is.
	askTime = 500 * time.Millisecond
	// answerBytesMax bounds what it says.
	answerBytesMax = 64 << 10
)

// port checks that an address can be listened on.
func (c *checkup) port(ctx context.Context, a Address) {
	if a.Address == "" {
		return
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.Address)
	if err == nil {
		_ = l.Close() // it only looked
		c.add("ports", a.Address, OK, fmt.Sprintf("free, for %s", a.Flag), "")
		return
	}
	other := "use a free one: " + a.Flag + " 127.0.0.1:PORT, where PORT 0 picks one"
	switch {
	case !errors.Is(err, syscall.EADDRINUSE):
		c.add("ports", a.Address, Fail, err.Error(), "correct "+a.Flag)
	case c.mosel || isMosel(ctx, a.Address):
		c.mosel = true
		c.add("ports", a.Address, Warn, "a mosel server listens there", "stop it before you start another, or "+other)
	default:
		c.add("ports", a.Address, Fail, "another program listens there", "stop the other program, or "+other)
	}
}

// isMosel asks a server who it is. Only REST answers: the addresses after it are taken
// for those of the same server.
func isMosel(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v2", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	var about struct{ Name string }
	return json.NewDecoder(io.LimitReader(answer.Body, answerBytesMax)).Decode(&about) == nil && about.Name == "mosel"
}

// files checks the limit on open files.
func (c *checkup) files(packages int) {
	base := uint64(filesBase + filesPerPackage*packages)
	want := base + 2*uint64(max(0, c.Connections)) // REST and gRPC
	fix := fmt.Sprintf("raise it: 'ulimit -n %d', or LimitNOFILE=%d in a systemd unit", want, want)
	switch most := c.FilesMax; {
	case most == 0:
		return
	case most < base:
		c.add("files", "open files", Fail, fmt.Sprintf("the limit is %d; the server needs %d without connections", most, base), fix)
	case most < want:
		c.add("files", "open files", Warn, fmt.Sprintf("the limit is %d: fewer connections than --connections %d for REST and gRPC each", most, c.Connections), fix+"; or lower --connections")
	default:
		c.add("files", "open files", OK, fmt.Sprintf("the limit is %d, enough for %d connections for REST and gRPC each", most, c.Connections), "")
	}
}

// disk checks the space for copies of models and for jobs.
func (c *checkup) disk(packages []*modelpkg.Model) {
	largest := uint64(0)
	for _, m := range packages {
		largest = max(largest, bytesIn(m.Dir))
	}
	c.space(c.Temporary, largest, "models are copied there while they load; the largest has "+megabytes(largest), "free some space, or set TMPDIR to another directory")
	if c.JobsDir == "" {
		return
	}
	if err := writable(c.JobsDir); err != nil {
		c.add("disk", c.JobsDir, Fail, err.Error(), "give a directory that this user can write: --jobs DIRECTORY")
		return
	}
	c.space(c.JobsDir, 0, "durable jobs are kept there", "free some space, or lower --jobs-bytes")
}

// space checks that a directory has the space that is needed.
func (c *checkup) space(dir string, need uint64, purpose, fix string) {
	if c.Free == nil {
		return
	}
	at := dir
	for { // the directory may be made later
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	free, err := c.Free(at)
	switch {
	case err != nil:
		c.add("disk", dir, Fail, err.Error(), fix)
	case free < need:
		c.add("disk", dir, Fail, fmt.Sprintf("%s free; %s", megabytes(free), purpose), fix)
	case free < need+spare:
		c.add("disk", dir, Warn, fmt.Sprintf("only %s free; %s", megabytes(free), purpose), fix)
	default:
		c.add("disk", dir, OK, fmt.Sprintf("%s free; %s", megabytes(free), purpose), "")
	}
}

// writable makes a directory and writes to it, and removes what it made.
func writable(dir string) error {
	_, err := os.Stat(dir)
	if made := errors.Is(err, fs.ErrNotExist); made {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		return os.Remove(dir)
	}
	probe, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return err
	}
	return os.Remove(probe)
}

// cache checks the directories for what mosel can make again.
func (c *checkup) cache() {
	var first error
	for i, d := range c.Caches {
		err := d.Make()
		switch {
		case err == nil && i == 0:
			c.add("cache", d.Path, OK, "can be written", "")
			return
		case err == nil:
			c.add("cache", d.Path, Warn, fmt.Sprintf("used in place of the user's cache: %v", first), "set XDG_CACHE_HOME to a directory that this user can write and that is kept")
			return
		case first == nil:
			first = err
		}
	}
	c.add("cache", "cache directory", Fail, fmt.Sprintf("none can be written: %v", first), "set XDG_CACHE_HOME to a directory that this user can write")
}

// bytesIn is the size of the files of a package, as far as they can be read.
func bytesIn(dir string) (sum uint64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // an unreadable file is a problem of the package, found elsewhere
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			sum += uint64(info.Size())
		}
		return nil
	})
	return sum
}

func megabytes(bytes uint64) string {
	if bytes >= 10<<30 {
		return fmt.Sprintf("%d GiB", bytes>>30)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
