package ort

import (
	"errors"
	"fmt"
	goruntime "runtime"
	"runtime/debug"
	"sync"
	"time"

	onnx "github.com/yalue/onnxruntime_go"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Bounds of outputs whose size depends on the data, if the package declares no max.
// They are checked before an output is copied.
const (
	itemBytesMax = 64 << 20  // of one item
	runBytesMax  = 512 << 20 // of one run, all items and outputs
)

// hugeBytes is the size of a run's outputs from which their memory is returned to the
// system at once. Smaller amounts are reused by the next runs.
const hugeBytes = 32 << 20

// bear returns an error for an output that is larger than its declaration or the bounds
// allow.
func (o output) bear(shape tensor.Shape, items, bytes int) error {
	if o.DType == tensor.Bytes && bytes > runBytesMax {
		return slo.E("", slo.KindTooLarge, "the texts of output %q have %d bytes for %d items; %d are allowed in one run: send fewer items", o.Name, bytes, items, runBytesMax)
	}
	if o.axis < 0 {
		return nil
	}
	length := shape[1+o.axis]
	switch {
	case o.Max > 0 && length > o.Max:
		return slo.E("", slo.KindTooLarge, "output %q has length %d; the package declares a max of %d", o.Name, length, o.Max)
	case o.Max == 0 && bytes/items > itemBytesMax:
		return slo.E("", slo.KindTooLarge, "output %q has length %d and %d bytes for one item; %d are allowed unless the package declares the output's max",
			o.Name, length, bytes/items, itemBytesMax)
	case o.Max == 0 && bytes > runBytesMax:
		return slo.E("", slo.KindTooLarge, "output %q has %d bytes for %d items; %d are allowed in one run unless the package declares the output's max: send fewer items",
			o.Name, bytes, items, runBytesMax)
	}
	return nil
}

// shrinkKey makes a run return the unused parts of the arena when it ends. The arena is
// shared, so a run of any graph does this for all.
const shrinkKey = "memory.enable_memory_arena_shrinkage"

// identity is a minimal ONNX graph, y = Identity(x), for one FP32.
const identity = "\x08\x08" + // IR version 8
	"\x3a\x37" + // graph
	"\x0a\x10\x0a\x01x\x12\x01y\x22\x08Identity" +
	"\x12\x01t" +
	"\x5a\x0f\x0a\x01x" + oneFloat +
	"\x62\x0f\x0a\x01y" + oneFloat +
	"\x42\x02\x10\x11" // operators of version 17
const oneFloat = "\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01"

// shrinker returns memory to the system. All Runtimes of the process share it.
type shrinker struct {
	mu      sync.Mutex
	session *session
	step    step // its run
	options *onnx.RunOptions
	handle  handle // of the options
	pin     goruntime.Pinner
	input   handle
	timer   *time.Timer // of the next garbage collection; nil: none
}

// freeDelay is the delay before garbage is collected and returned: a huge answer needs
// time to reach its client.
var freeDelay = 5 * time.Second

func newShrinker() (*shrinker, error) {
	s := &shrinker{}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("the graph that gives memory back: %w", err), s.close())
	}
	return s, nil
}

func (s *shrinker) open() error {
	options, err := sessionOptions(1, nil)
	if err != nil {
		return err
	}
	defer options.Destroy() //nolint:errcheck // the session has its own copy, and Destroy fails only for nil
	graph, err := onnx.NewDynamicAdvancedSessionWithONNXData([]byte(identity), []string{"x"}, []string{"y"}, options)
	if err != nil {
		return err
	}
	s.session = new(session)
	if err := s.session.use(graph); err != nil {
		s.session = nil
		return err
	}
	s.step = step{session: s.session, inputs: newNames([]string{"x"}), outputs: newNames([]string{"y"})}
	if s.options, err = onnx.NewRunOptions(); err != nil {
		return err
	}
	if s.handle, err = handleOf(s.options, "o"); err != nil {
		return err
	}
	if err := setRunOption(s.handle, shrinkKey, "cpu:0"); err != nil {
		return err
	}
	number := make([]byte, 4)
	s.pin.Pin(&number[0])
	s.input, err = newTensor(tensor.Shape{1}, number, onnx.TensorElementDataTypeFloat)
	return err
}

// shrink returns the unused parts of the arena now, and Go's garbage soon.
func (s *shrinker) shrink() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil { // closed
		return
	}
	outputs := make([]handle, 1)
	_ = graphRun(&s.step, s.handle, []handle{s.input}, outputs) // an error only means that memory is not returned
	if outputs[0] != nil {
		releaseValue(outputs[0])
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(freeDelay, s.free)
	}
}

func (s *shrinker) free() {
	debug.FreeOSMemory()
	trim()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = nil
}

func (s *shrinker) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.input != nil {
		releaseValue(s.input)
	}
	s.pin.Unpin()
	if s.options != nil {
		errs = append(errs, s.options.Destroy())
	}
	if s.session != nil {
		errs = append(errs, s.session.destroy())
		s.step.free()
		s.session, s.step = nil, step{}
	}
	return errors.Join(errs...)
}
