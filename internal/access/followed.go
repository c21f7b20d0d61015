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

// lookEvery is how long a change of a file may go unseen while requests come:
// short enough that a withdrawn token is soon worthless, long enough that
// looking costs nothing.
const lookEvery = time.Second

// content is a file as it was read.
type content struct {
	name string
	text []byte
	mode fs.FileMode // its permissions
}

// followed is a value that was made of files, and is made anew when they change.
// There is no goroutine behind it: whoever asks for the value and finds that it
// is time looks at the files, and meanwhile others get the value there is. The
// files are read to see whether they changed. They are small, and a file's time
// cannot be relied upon: it may count in seconds, and be set by those who copy.
type followed[T any] struct {
	what     string // the files hold, for the log
	names    []string
	bytesMax int64 // of each file
	make     func([]content) (*T, error)
	remark   func(*T) string // what the log is told of a new value, "" for nothing; may be nil
	log      *slog.Logger
	clock    func() time.Time
	began    time.Time

	value atomic.Pointer[T]
	due   atomic.Int64 // when, since began, to look again

	mu     sync.Mutex             // held while looking
	digest [sha256.Size]byte      // of the files as they were last read
	wrong  error                  // with what they said
	told   string                 // the last error in the log
	stale  atomic.Pointer[string] // the error because of which the value is an old one; nil: it is not
}

// start reads the files for the first time, when what is wrong with them is the
// caller's to tell.
func (f *followed[T]) start() error {
	if f.clock == nil {
		f.clock = time.Now
	}
	f.began = f.clock()
	f.due.Store(int64(lookEvery))
	return f.look()
}

// current is the value, made of what the files said up to a second ago unless
// they are wrong.
func (f *followed[T]) current() *T {
	if now := int64(f.clock().Sub(f.began)); now >= f.due.Load() && f.mu.TryLock() {
		if now >= f.due.Load() { // nobody has just looked
			f.renew()
			f.due.Store(now + int64(lookEvery))
		}
		f.mu.Unlock()
	}
	return f.value.Load()
}

// staleness is why the value is made of what the files once said, "" if it is not.
func (f *followed[T]) staleness() string {
	f.current()
	if why := f.stale.Load(); why != nil {
		return *why
	}
	return ""
}

// renew looks at the files again. What is wrong with them is told once.
func (f *followed[T]) renew() {
	before := f.value.Load()
	switch err := f.look(); {
	case err == nil:
		if f.told != "" || f.value.Load() != before {
			f.log.Info("read anew", "what", f.what, "files", strings.Join(f.names, ", "))
			if value := f.value.Load(); f.remark != nil && value != before && f.remark(value) != "" {
				f.log.Warn(f.remark(value))
			}
		}
		f.told = ""
		f.stale.Store(nil)
	case err.Error() != f.told:
		f.told = err.Error()
		f.stale.Store(new(f.told))
		f.log.Error("not read anew, what was read before stays in force", "what", f.what, "error", err)
	}
}

// look reads the files and, if they changed, makes a new value of them. On an
// error the value stays what it was.
func (f *followed[T]) look() error {
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

// Permissions that matter.
const (
	writableByOthers   fs.FileMode = 0o022
	readableByEveryone fs.FileMode = 0o004 // a group may be made for it
)

// readFile reads a small ordinary file. One that others may write is refused:
// who can change it decides who may call the server.
func readFile(name string, bytesMax int64) (content, error) {
	op := "read " + name
	// Looked at before it is opened: opening a pipe would wait for its writer.
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		return content{}, slo.E(op, slo.KindInvalid, "it is not an ordinary file")
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
		return content{}, slo.E(op, slo.KindInvalid, "others than its owner may write it (mode %04o): chmod go-w %s", c.mode, name)
	}
	if c.text, err = io.ReadAll(io.LimitReader(file, bytesMax+1)); err != nil {
		return content{}, &slo.Error{Op: op, Kind: slo.KindNotFound, Err: err}
	}
	if int64(len(c.text)) > bytesMax {
		return content{}, slo.E(op, slo.KindTooLarge, "it has more than %d bytes", bytesMax)
	}
	return c, nil
}

// openness warns about a file that everyone may read, "" if not everyone may.
func (c content) openness(matters string) string {
	if c.mode&readableByEveryone == 0 {
		return ""
	}
	return fmt.Sprintf("every user of this machine may read %s (mode %04o), %s: chmod o-r %s", c.name, c.mode, matters, c.name)
}
