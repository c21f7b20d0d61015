package proposal_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mosel-serve/mosel/internal/proposal"
)

func TestPipesAreNotRead(t *testing.T) {
	dir := scored(t, "y", 3, wholeLabels(t, func(i int) int64 { return int64(i % 3) }))
	for _, name := range []string{"a.onnx", "b.npz"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := propose(t, dir, proposal.Options{})
	if len(p.Graphs) != 1 || len(p.Samples) != 1 || len(p.Decisions) > 0 {
		t.Errorf("%d graphs, %d files of samples, decisions %+v", len(p.Graphs), len(p.Samples), p.Decisions)
	}
}
