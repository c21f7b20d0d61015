package ort

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	onnx "github.com/yalue/onnxruntime_go"
	"golang.org/x/sys/unix"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// pool is the weights that the sessions of a model have in common: those in files beside
// the graphs, mapped into memory once, and what operators have prepared of them, such as
// matrices in the order in which a kernel reads them. ONNX Runtime finds equal prepared
// weights by their content.
type pool struct {
	users int // sessions; guarded by Runtime.mu

	mu        sync.Mutex
	container handle
	files     map[string]mapped // by name in the package
	values    map[string]handle // by file, place and type
}

// mapped is a file in memory. It stays there when the file is deleted.
type mapped []byte

// takePool returns the pool of a model for one more session.
func (r *Runtime) takePool(m *modelpkg.Model) *pool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pools[m]
	if p == nil {
		p = &pool{files: map[string]mapped{}, values: map[string]handle{}}
		r.pools[m] = p
	}
	p.users++
	return p
}

// leavePool takes a session away from its pool; the last frees it. The caller holds
// Runtime.mu.
func (r *Runtime) leavePool(m *modelpkg.Model) {
	p := r.pools[m]
	if p.users--; p.users == 0 {
		delete(r.pools, m)
		p.free()
	}
}

func (p *pool) free() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.container != nil {
		releaseContainer(p.container)
	}
	for _, value := range p.values {
		releaseValue(value)
	}
	for _, file := range p.files {
		_ = unix.Munmap(file) // fails only for what is not mapped
	}
	p.container, p.files, p.values = nil, nil, nil
}

// sharedBytesMin is the size from which a weight is worth sharing.
const sharedBytesMin = 1 << 10

// share gives a session's options those weights of a graph that the pool has, or maps now.
// graph is the content of a file in dir, a directory of dir's root. It returns the
// container for the session; nil: there is nothing to share.
func (p *pool) share(options *onnx.SessionOptions, graph []byte, root, dir string) (handle, error) {
	weights, err := externalWeights(graph)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	shared := false
	for _, w := range weights {
		value, err := p.value(w, root, dir)
		if err != nil {
			return nil, err
		}
		if value == nil {
			continue
		}
		if err := addInitializer(options, w.name, value); err != nil {
			return nil, err
		}
		shared = true
	}
	if shared && p.container == nil {
		p.container, err = newContainer()
	}
	if !shared {
		return nil, err
	}
	return p.container, err
}

// value returns a weight as a value over the mapped file; nil if it is not to be shared.
func (p *pool) value(w initializer, root, dir string) (handle, error) {
	size, known := elementBytes(w.element)
	if !known || w.length < sharedBytesMin || w.offset < 0 || w.offset%int64(size) != 0 {
		return nil, nil
	}
	if elements, err := w.shape.Elements(); err != nil || slices.Contains(w.shape, -1) || int64(elements)*int64(size) != w.length {
		return nil, nil //nolint:nilerr // what it is, the library says
	}
	file := filepath.Join(dir, filepath.FromSlash(w.location))
	name, err := filepath.Rel(root, file)
	if err != nil || !filepath.IsLocal(name) {
		return nil, fmt.Errorf("the weight %q is outside the package", w.name)
	}
	content, err := p.file(name, file)
	if err != nil {
		return nil, err
	}
	if w.offset > int64(len(content))-w.length {
		return nil, fmt.Errorf("the weight %q is beyond the end of %s", w.name, name)
	}
	key := fmt.Sprintf("%s %d %d %d %v", strings.ReplaceAll(name, " ", "  "), w.offset, w.length, w.element, w.shape)
	if value := p.values[key]; value != nil {
		return value, nil
	}
	value, err := newTensor(w.shape, content[w.offset:w.offset+w.length], w.element)
	if err == nil {
		p.values[key] = value
	}
	return value, err
}

// file maps a file of the package into memory, once.
func (p *pool) file(name, path string) (mapped, error) {
	if content := p.files[name]; content != nil {
		return content, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		return nil, errors.New(name + " is empty")
	}
	content, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	p.files[name] = content
	return content, nil
}

// release lets the system take the pages of the mapped files back. What is still read of
// them comes back by itself; what has only been read to be prepared does not.
func (p *pool) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, file := range p.files {
		_ = unix.Madvise(file, unix.MADV_DONTNEED) // the pages stay, no more
	}
}

// elementBytes returns the size of an element of a type that can be shared.
func elementBytes(element onnx.TensorElementDataType) (int, bool) {
	if dtype, ok := typeOf(element); ok && dtype != tensor.Bytes {
		return dtype.Size(), true
	}
	return 0, false
}
