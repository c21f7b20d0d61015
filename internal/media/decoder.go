package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Bounds of a file that came with a request. They are tighter than those of the command
// line, because many strangers send files at once: 256 MiB of memory are an ordinary
// JPEG of 60 megapixels, or 5 minutes of sound at 48 kHz.
const (
	requestWorkBytes = 256 << 20
	allWorkBytes     = 1 << 30 // of all files that are read at a time
	fileTimeMax      = 5 * time.Second
	roomUnit         = 1 << 20
)

// Decoder makes inputs of the files in requests, as Encode does: several at a time, each
// bounded in memory and in time. It is safe for concurrent use.
type Decoder struct {
	slots chan struct{} // taken by each file that is read
	turn  chan struct{} // held by who waits for room
	room  chan struct{} // one for each roomUnit of memory in use
	most  time.Duration // for one file

	files, bytes atomic.Int64
}

// NewDecoder makes a decoder that uses as many goroutines as there are processors.
func NewDecoder() *Decoder {
	return &Decoder{slots: make(chan struct{}, runtime.GOMAXPROCS(0)), turn: make(chan struct{}, 1), room: make(chan struct{}, allWorkBytes/roomUnit), most: fileTimeMax}
}

// Decoded is how many files were read so far, and how many bytes they had.
func (d *Decoder) Decoded() (files, bytes int64) { return d.files.Load(), d.bytes.Load() }

// File is a file that is to become an item of an input.
type File struct {
	Input *modelpkg.Input
	Data  []byte // the file

	Item []byte // what became of it
	// Beside are other inputs that were made of it, by index into the model's: the mask of
	// the ids of a text.
	Beside map[int][]byte
	Err    error // why nothing did, of kind invalid: it is the fault of who sent it
}

// Decode reads the files and sets Item or Err of each. It returns an error only when ctx
// has ended, and then after all its goroutines have.
func (d *Decoder) Decode(ctx context.Context, files []File) error {
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(len(files)) && ctx.Err() == nil; i = next.Add(1) - 1 {
			select {
			case d.slots <- struct{}{}:
				f := &files[i]
				d.file(ctx, f)
				<-d.slots
			case <-ctx.Done():
			}
		}
	}
	var group sync.WaitGroup
	for range min(cap(d.slots), len(files)) - 1 {
		group.Go(work)
	}
	work()
	group.Wait()
	return ctx.Err()
}

// file reads one file.
func (d *Decoder) file(ctx context.Context, f *File) {
	in := f.Input
	d.files.Add(1)
	d.bytes.Add(int64(len(f.Data)))
	timed, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(d.most, cancel)
	defer timer.Stop()
	taken := 0
	defer func() {
		for range taken {
			<-d.room
		}
		if p := recover(); p != nil { // in a decoder that is not ours
			f.Item, f.Err = nil, slo.E("", slo.KindInvalid, "input %q: the file cannot be read: %v", in.Name, p)
		}
	}()
	take := func(bytes int64) error { // waiting is not the file's time
		timer.Stop()
		defer timer.Reset(d.most)
		return d.take(ctx, bytes, &taken)
	}
	var t tensor.Tensor
	var err error
	if in.Tokens != nil {
		t, f.Beside, err = tokens(in, f.Data)
	} else {
		t, err = encode(*in, f.Data, bounds{timed, requestWorkBytes, take})
	}
	if err == nil {
		err = suits(in, t.Shape[1:], t.Data)
	}
	if err == nil {
		f.Item = t.Data
		return
	}
	told := err
	if e, ok := errors.AsType[*slo.Error](err); ok && e.Err != nil {
		told = e.Err // without what mosel infer calls it
	}
	if errors.Is(err, context.Canceled) {
		told = fmt.Errorf("it takes more than %v to read", d.most)
	}
	f.Err = slo.E("", slo.KindInvalid, "input %q: %w", in.Name, told)
}

// take waits for room for so many bytes. One file waits at a time, so that two that have
// half of what they need do not wait for each other.
func (d *Decoder) take(ctx context.Context, bytes int64, taken *int) error {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-d.turn }()
	for range (bytes + roomUnit - 1) / roomUnit {
		select {
		case d.room <- struct{}{}:
			*taken++
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// suits holds an input that was made of a file against what its package says.
func suits(in *modelpkg.Input, shape []int64, data []byte) error {
	for i, d := range in.Shape {
		switch {
		case d != -1 || in.Max == 0 || shape[i] <= in.Max:
		case in.Buckets == nil:
			return fmt.Errorf("the file has length %d, but the model takes at most %d (max in its package)", shape[i], in.Max)
		case !in.Buckets.Cut && in.Tokens != nil:
			return fmt.Errorf("the text has more than %d tokens, the largest bucket of the model", in.Max)
		case !in.Buckets.Cut:
			return fmt.Errorf("the file has length %d, but the largest bucket of the model is %d", shape[i], in.Max)
		}
	}
	if err := in.CheckRange(data); err != nil {
		return err
	}
	return in.CheckTexts(data)
}

// slowReader reads in small steps and looks at the context before each: a picture of a
// few bytes can ask for much work.
type slowReader struct {
	ctx  context.Context
	rest []byte
}

// readStep is the size of a step.
const readStep = 512

// Read implements io.Reader.
func (r *slowReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), readStep)], r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
