package modelpkg

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
)

// manifest lists the files of a model. Each is read and hashed once, even if several
// graphs share it.
type manifest struct {
	home  *home
	sums  map[string]string
	sizes map[string]int64
}

func newManifest(h *home) *manifest {
	return &manifest{h, map[string]string{}, map[string]int64{}}
}

// add adds a file whose content is known.
func (f *manifest) add(name string, content []byte) {
	sum := sha256.Sum256(content)
	f.sums[name], f.sizes[name] = hex.EncodeToString(sum[:]), int64(len(content))
}

// file hashes a file of the package and returns its size.
func (f *manifest) file(name string) (int64, error) {
	if size, ok := f.sizes[name]; ok {
		return size, nil
	}
	err := f.read(name, func(r io.Reader, _ int64) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	return f.sizes[name], err
}

// graph reads and hashes an ONNX file.
func (f *manifest) graph(name string) (g *graph, err error) {
	err = f.read(name, func(r io.Reader, size int64) error {
		g, err = readGraph(r, size)
		return err
	})
	return g, err
}

// read hashes the part of a file that use reads. Links that lead outside are refused.
func (f *manifest) read(name string, use func(io.Reader, int64) error) error {
	file, info, err := f.home.open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha256.New()
	if err := use(io.TeeReader(file, hash), info.Size()); err != nil {
		return err
	}
	f.sums[name], f.sizes[name] = hex.EncodeToString(hash.Sum(nil)), info.Size()
	return nil
}

// digest returns the SHA-256 of one line "sum  name" per file, including mosel.yaml,
// sorted by name. `sha256sum FILES | sort -k 2 | sha256sum` prints the same.
func (f *manifest) digest() string {
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(f.sums)) {
		fmt.Fprintf(hash, "%s  %s\n", f.sums[name], name)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}
