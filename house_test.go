package mosel_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// isTrainingWork reports whether a training keeps there what it downloads and makes.
func isTrainingWork(dir string) bool {
	parts := strings.Split(filepath.ToSlash(dir), "/")
	return len(parts) == 3 && parts[0] == "training" && parts[2] == "work"
}

// modulePath is the module whose rooms the tests here walk through.
const modulePath = "github.com/mosel-serve/mosel"

// source is one parsed Go file.
type source struct {
	name  string // relative to the module's root, with slashes
	test  bool
	lines int
	tree  *ast.File
}

// house is the whole module, parsed: files by the directory of their package.
// Every file counts, whatever its build constraints say.
type house struct {
	fset *token.FileSet
	dirs map[string][]source
}

// readHouse parses the module's files. Other modules below the root (tools),
// testdata and hidden directories are not part of the house. Reading the files
// ourselves, not through the go command, lets "go test" see what the result
// depends on and cache it.
func readHouse(t *testing.T) *house {
	t.Helper()
	h := &house{fset: token.NewFileSet(), dirs: map[string][]source{}}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return skipOutside(name)
		case !strings.HasSuffix(name, ".go"):
			return nil
		}
		return h.add(name)
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// skipOutside tells WalkDir to leave out directories that are not the house's.
func skipOutside(dir string) error {
	base := filepath.Base(dir)
	if dir == "." {
		return nil
	}
	if dir == "out" || base == "testdata" || base == "node_modules" || isTrainingWork(dir) || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

// add parses one file.
func (h *house) add(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	tree, err := parser.ParseFile(h.fset, name, text, parser.ParseComments)
	if err != nil {
		return err
	}
	name = filepath.ToSlash(name)
	dir := path.Dir(name)
	h.dirs[dir] = append(h.dirs[dir], source{
		name:  name,
		test:  strings.HasSuffix(name, "_test.go"),
		lines: strings.Count(string(text), "\n"),
		tree:  tree,
	})
	return nil
}

// rooms lists the directories of all packages in a fixed order.
func (h *house) rooms() []string { return slices.Sorted(maps.Keys(h.dirs)) }

// at prints where a node stands, so that an editor can jump there.
func (h *house) at(n ast.Node) string { return h.fset.Position(n.Pos()).String() }

// lines counts the lines from the first to the last of a node.
func (h *house) lines(n ast.Node) int {
	return h.fset.Position(n.End()).Line - h.fset.Position(n.Pos()).Line + 1
}

// imported is one import of one file.
type imported struct {
	from source
	spec *ast.ImportSpec
	path string
}

// imports lists every import of every file of a room.
func (h *house) imports(dir string) []imported {
	var all []imported
	for _, f := range h.dirs[dir] {
		for _, spec := range f.tree.Imports {
			all = append(all, imported{from: f, spec: spec, path: strings.Trim(spec.Path.Value, `"`)})
		}
	}
	return all
}

// room returns the directory of this module that the import names.
func (i imported) room() (dir string, ours bool) {
	if i.path == modulePath {
		return ".", true
	}
	return strings.CutPrefix(i.path, modulePath+"/")
}

// selectors calls visit for every use pkg.Name of an imported package in a file.
func (f source) selectors(pkg string, visit func(use *ast.SelectorExpr)) {
	local := f.localName(pkg)
	if local == "" {
		return
	}
	ast.Inspect(f.tree, func(n ast.Node) bool {
		if use, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := use.X.(*ast.Ident); ok && x.Name == local {
				visit(use)
			}
		}
		return true
	})
}

// localName is the name by which a file calls an imported package, "" if it
// does not import it.
func (f source) localName(pkg string) string {
	for _, spec := range f.tree.Imports {
		if strings.Trim(spec.Path.Value, `"`) != pkg {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(strings.TrimSuffix(pkg, "/v2"))
	}
	return ""
}

// concurrency names the construct if n starts or talks to another goroutine.
func concurrency(n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "go statement"
	case *ast.ChanType:
		return "channel"
	case *ast.SelectStmt:
		return "select statement"
	case *ast.SendStmt:
		return "send"
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			return "receive"
		}
	}
	return ""
}
