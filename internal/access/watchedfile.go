package access

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// lookEvery is how long a change of a file may go unnoticed while there are requests.
// It is short enough that a withdrawn token soon stops working, and long enough that
// reading the file costs nothing noticeable.
const lookEvery = time.Second

// content is the content of a file.
type content struct {
	name string
	text []byte
	mode fs.FileMode // its permissions
}

// watchedFile is a value that is made from one or more files, and made again when they
// change. It needs no goroutine: the first caller that asks for the value after
// lookEvery reads the files; meanwhile other callers get the old value. The files'
// contents are compared, because they are small and their modification time is
// unreliable: it may have a resolution of a second, and programs that copy files can
// set it.
type watchedFile[T any] struct {
	what     string // what the files hold, for the log
	names    []string
	bytesMax int64 // of each file
	make     func([]content) (*T, error)
	warning  func(*T) string // about a new value, for the log; "" for none; may be nil
	log      *slog.Logger
	clock    func() time.Time
	began    time.Time

	value atomic.Pointer[T]
	due   atomic.Int64 // when, since began, to read the files again

	mu     sync.Mutex             // held while the files are read
	digest [sha256.Size]byte      // of the files when they were last read
	wrong  error                  // the error of making a value from them
	logged string                 // the last error in the log
	stale  atomic.Pointer[string] // why the value is not made from the present files; nil: it is
}

// start reads the files for the first time. It returns errors and logs none.
func (f *watchedFile[T]) start() error {
	if f.clock == nil {
		f.clock = time.Now
	}
	f.began = f.clock()
	f.due.Store(int64(lookEvery))
	return f.look()
}

// current returns the value. It is made from the files as they were at most lookEvery
// ago or, if they had mistakes, from the last valid files.
func (f *watchedFile[T]) current() *T {
	if now := int64(f.clock().Sub(f.began)); now >= f.due.Load() && f.mu.TryLock() {
		if now >= f.due.Load() { // no other caller has just read them
			f.renew()
			f.due.Store(now + int64(lookEvery))
		}
		f.mu.Unlock()
	}
	return f.value.Load()
}

// staleness returns why the value is not made from the present files, "" if it is.
func (f *watchedFile[T]) staleness() string {
	f.current()
	if why := f.stale.Load(); why != nil {
		return *why
	}
	return ""
}

// renew reads the files again. It logs each error once.
func (f *watchedFile[T]) renew() {
	before := f.value.Load()
	switch err := f.look(); {
	case err == nil:
		if f.logged != "" || f.value.Load() != before {
			f.log.Info("read again after a change", "what", f.what, "files", strings.Join(f.names, ", "))
			if value := f.value.Load(); f.warning != nil && value != before && f.warning(value) != "" {
				f.log.Warn(f.warning(value))
			}
		}
		f.logged = ""
		f.stale.Store(nil)
	case err.Error() != f.logged:
		f.logged = err.Error()
		f.stale.Store(new(f.logged))
		f.log.Error("cannot be read again, the earlier content stays in force", "what", f.what, "error", err)
	}
}

// look reads the files and, if they changed, makes a new value from them. On an error
// the value stays the same.
func (f *watchedFile[T]) look() error {
	contents := make([]content, len(f.names))
	hash := sha256.New()
	for i, name := range f.names {
		var err error
		if contents[i], err = readFile(name, f.bytesMax); err != nil {
			return err
		}
		fmt.Fprintf(hash, "%d ", len(contents[i].text))
		hash.Write(contents[i].text)
	}
	if digest := [sha256.Size]byte(hash.Sum(nil)); digest != f.digest {
		f.digest = digest
		var value *T
		if value, f.wrong = f.make(contents); f.wrong == nil {
			f.value.Store(value)
		}
	}
	return f.wrong
}

// The permissions that are checked.
const (
	writableByOthers   fs.FileMode = 0o022
	readableByEveryone fs.FileMode = 0o004 // reading by a group is allowed: it may exist for this file
)

// readFile reads a small regular file. It refuses a file that users other than its
// owner may write, because whoever can change it decides who may call the server.
func readFile(name string, bytesMax int64) (content, error) {
	op := "read " + name
	// Check before opening: opening a pipe would wait for its writer.
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		return content{}, slo.E(op, slo.KindInvalid, "it is not a regular file")
	}
	file, err := os.Open(name)
	if err != nil {
		return content{}, &slo.Error{Op: op, Kind: slo.KindNotFound, Err: err}
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return content{}, &slo.Error{Op: op, Kind: slo.KindNotFound, Err: err}
	}
	c := content{name: name, mode: info.Mode().Perm()}
	if c.mode&writableByOthers != 0 {
		return content{}, slo.E(op, slo.KindInvalid, "users other than its owner may write it (mode %04o): chmod go-w %s", c.mode, name)
	}
	if c.text, err = io.ReadAll(io.LimitReader(file, bytesMax+1)); err != nil {
		return content{}, &slo.Error{Op: op, Kind: slo.KindNotFound, Err: err}
	}
	if int64(len(c.text)) > bytesMax {
		return content{}, slo.E(op, slo.KindTooLarge, "it has more than %d bytes", bytesMax)
	}
	return c, nil
}

// openness returns a warning if everyone may read the file, with what that reveals;
// else "".
func (c content) openness(reveals string) string {
	if c.mode&readableByEveryone == 0 {
		return ""
	}
	return fmt.Sprintf("every user of this machine may read %s (mode %04o), %s: chmod o-r %s", c.name, c.mode, reveals, c.name)
}
