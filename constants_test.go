package mosel_test

import (
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const constantsPage = "docs/constants.md"

// constantRooms are the packages that the page must have; it may have more.
var constantRooms = []string{"internal/sched", "internal/plan", "internal/engine", "internal/api", "internal/server", "internal/obs",
	"internal/drift", "internal/jobs", "internal/repository", "internal/runtime", "internal/runtime/ort"}

// notTuned are constants of the packages on the page that are what they are: facts
// of a format, a protocol or the language, and marks.
var notTuned = map[string]bool{
	"cmd/mosel/decisionsShown": true, "cmd/mosel/judgedShown": true, "cmd/mosel/labelWidth": true, // how pages look
	"cmd/mosel/pageWidthDefault": true, "cmd/mosel/pageWidthMax": true, "cmd/mosel/pageWidthMin": true,
	"cmd/mosel/numbersShown": true, "cmd/mosel/suggestionDistance": true, "cmd/mosel/topCandidates": true,
	"internal/access/readableByEveryone": true, "internal/access/writableByOthers": true,
	"internal/api/sliceBytes":              true,
	"internal/engine/retired":              true, // larger than any number of users
	"internal/repository/writableByOthers": true,
	"internal/runtime/ort/codeFail":        true, "internal/runtime/ort/codeInvalidArgument": true, "internal/runtime/ort/codeRuntimeException": true,
	"internal/runtime/remote/slotsMax":          true, // more than any package has
	"internal/runtime/isolated/socketFile":      true, // the number of the first file beside the standard three
	"internal/jobs/jetstream/streamStoreFailed": true, // a code of NATS
	"internal/plan/shareError":                  true, // rounding
	"internal/sched/verdicts":                   true, // two of them
	"internal/sched/slackMax":                   true,
	"oip/StatusClientClosed":                    true, "oip/exponentMax": true, "oip/formUnset": true, "oip/lastDigit": true, "oip/mantissaMax": true, "oip/shownMax": true,
}

var (
	// constantRow is a line of a table: `name`, `value` and `file`.
	constantRow = regexp.MustCompile("^\\| `([^`]+)` \\| `([^`]+)`[^|]* \\| `([a-z0-9_]+\\.go)` \\|")
	// constantSection is the heading of a package.
	constantSection = regexp.MustCompile("^## `([a-z/]+)`")
)

// TestConstantsPage checks that the page of tuned constants has each of its
// packages' constants, where and what it is in the code, and none besides.
func TestConstantsPage(t *testing.T) {
	text, err := os.ReadFile(constantsPage)
	if err != nil {
		t.Fatal(err)
	}
	h := readHouse(t)
	var dir string
	var seen []string
	var constants map[string]constant // of dir, those not seen yet
	missing := func() {
		for _, name := range slices.Sorted(maps.Keys(constants)) {
			if !notTuned[path.Join(dir, name)] {
				t.Errorf("%s lacks %s = %s of %s", constantsPage, name, constants[name].value, path.Join(dir, constants[name].file))
			}
		}
	}
	for line := range strings.Lines(string(text)) {
		if m := constantSection.FindStringSubmatch(line); m != nil {
			missing()
			dir, constants, seen = m[1], constantsOf(h.dirs[m[1]]), append(seen, m[1])
			continue
		}
		m := constantRow.FindStringSubmatch(line)
		switch {
		case m == nil:
			if strings.HasPrefix(line, "| `") {
				t.Errorf("%s: a row without name, value and file: %s", constantsPage, line)
			}
		case strings.Contains(m[1], " "): // has no name: as it stands in the code
			source, err := os.ReadFile(path.Join(dir, m[3]))
			if err != nil || !strings.Contains(string(source), m[1]) || !strings.Contains(m[1], m[2]) {
				t.Errorf("%s: %s has no %q with %s (%v)", constantsPage, path.Join(dir, m[3]), m[1], m[2], err)
			}
		case constants[m[1]] != constant{file: m[3], value: m[2]}:
			t.Errorf("%s has %s = %s in %s, the code of %s %+v", constantsPage, m[1], m[2], m[3], dir, constants[m[1]])
			fallthrough
		default:
			delete(constants, m[1])
		}
	}
	missing()
	for _, room := range constantRooms {
		if !slices.Contains(seen, room) {
			t.Errorf("%s has no section for %s", constantsPage, room)
		}
	}
}

// constant is one as it stands in the code.
type constant struct{ file, value string }

// constantsOf finds the constants of a package, and variables that are as good as
// constants, whose values are numbers or times. What a function Default... puts
// into a field is named after both: DefaultConfig.StallTimeout.
func constantsOf(files []source) map[string]constant {
	found := map[string]constant{}
	for _, f := range files {
		if f.test {
			continue
		}
		file := path.Base(f.name)
		for _, decl := range f.tree.Decls {
			switch d := decl.(type) {
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok && len(v.Values) == len(v.Names) && (d.Tok == token.CONST || d.Tok == token.VAR) {
						for i, name := range v.Names {
							if isNumber(v.Values[i]) {
								found[name.Name] = constant{file, types.ExprString(v.Values[i])}
							}
						}
					}
				}
			case *ast.FuncDecl:
				if d.Recv == nil && strings.HasPrefix(d.Name.Name, "Default") {
					ast.Inspect(d.Body, func(n ast.Node) bool {
						if field, ok := n.(*ast.KeyValueExpr); ok && isNumber(field.Value) {
							found[d.Name.Name+"."+field.Key.(*ast.Ident).Name] = constant{file, types.ExprString(field.Value)}
						}
						return true
					})
				}
			}
		}
	}
	return found
}

// isNumber reports whether an expression is made of numbers and of units of time.
func isNumber(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.INT || e.Kind == token.FLOAT
	case *ast.BinaryExpr:
		return !isIota(e.X) && !isIota(e.Y) && (isNumber(e.X) || isNumber(e.Y))
	case *ast.ParenExpr:
		return isNumber(e.X)
	case *ast.SelectorExpr:
		x, ok := e.X.(*ast.Ident)
		return ok && x.Name == "time"
	}
	return false
}

func isIota(e ast.Expr) bool {
	x, ok := e.(*ast.Ident)
	return ok && x.Name == "iota"
}
