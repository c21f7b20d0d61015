package mosel_test

import (
	"go/ast"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// room is one line of the table of allowed imports.
type room struct {
	dir     string
	imports []string // rooms it may import
	tests   []string // further rooms that only its own tests may import
}

// rooms is the one line in which the packages of the house stand (rule R1): a
// room imports only what its line lists, and that stands above it. A new import
// is a new word here: a decision, read in review.
var rooms = []room{
	{dir: "."},
	// Public leaves, which know nothing of mosel's inside.
	{dir: "tensor"},
	{dir: "oip", imports: []string{"tensor"}},
	{dir: "oip/inference", imports: []string{"tensor", "oip"}},
	// What a server says about itself, for whoever reads it.
	{dir: "status"},
	{dir: "client", imports: []string{"tensor", "oip", "status"}, tests: []string{"oip/inference", "client/clientgrpc"}},
	{dir: "client/clientgrpc", imports: []string{"oip", "oip/inference", "client"}, tests: []string{"tensor"}},
	// The example package and the pages, inside the program.
	{dir: "models"}, {dir: "web"},
	{dir: "internal/cachedir"},
	{dir: "internal/example", imports: []string{"models", "internal/cachedir"}},
	// The spine: slo -> modelpkg -> plan -> sched -> engine -> api -> server -> cmd.
	// What hangs off a vertebra stands right after it.
	{dir: "internal/slo"},
	{dir: "internal/stats"},
	{dir: "internal/pending"},
	{dir: "internal/asynclog"},
	{dir: "internal/plot", imports: []string{"internal/slo"}},
	{dir: "internal/strictyaml"},
	{dir: "internal/score"},
	{dir: "internal/drift", imports: []string{"internal/slo", "internal/score"}},
	{dir: "internal/exits", imports: []string{"internal/score", "internal/drift"}},
	{dir: "internal/access", imports: []string{"internal/slo", "internal/strictyaml"}},
	{dir: "internal/jobs", imports: []string{"oip", "internal/slo"}},
	{dir: "internal/jobs/jetstream", imports: []string{"internal/slo", "internal/jobs"}},
	{dir: "internal/workload", imports: []string{"internal/slo"}},
	{dir: "internal/media/tokenizer"},
	{
		dir: "internal/modelpkg", imports: []string{"tensor", "internal/media/tokenizer", "internal/slo", "internal/strictyaml", "internal/score"},
		tests: []string{"internal/modelpkg/modelpkgtest"},
	},
	{dir: "internal/modelpkg/modelpkgtest", imports: []string{"tensor", "internal/stats", "internal/modelpkg"}},
	{dir: "internal/feedback", imports: []string{"tensor", "oip", "status", "internal/slo", "internal/score", "internal/modelpkg"}},
	{dir: "internal/runtime", imports: []string{"tensor", "internal/slo", "internal/modelpkg"}},
	{dir: "internal/runtime/runtimetest", imports: []string{"tensor", "internal/slo", "internal/modelpkg", "internal/runtime"}},
	{dir: "internal/runtime/sizing", imports: []string{"internal/cachedir", "internal/modelpkg", "internal/runtime"}, tests: []string{"tensor"}},
	{
		dir:     "internal/runtime/fake",
		imports: []string{"tensor", "internal/slo", "internal/stats", "internal/modelpkg", "internal/runtime"},
		tests:   []string{"internal/runtime/runtimetest"},
	},
	{dir: "internal/runtime/ort/library", imports: []string{"internal/slo", "internal/cachedir"}},
	{
		dir:     "internal/runtime/ort",
		imports: []string{"tensor", "internal/slo", "internal/modelpkg", "internal/runtime", "internal/runtime/ort/library", "internal/cachedir"},
		tests:   []string{"internal/runtime/runtimetest", "internal/modelpkg/modelpkgtest"},
	},
	{
		dir:     "internal/runtime/remote",
		imports: []string{"tensor", "oip", "client", "client/clientgrpc", "internal/slo", "internal/modelpkg", "internal/runtime"},
		tests:   []string{"oip/inference", "internal/modelpkg/modelpkgtest", "internal/runtime/runtimetest", "internal/runtime/fake", "internal/server"},
	},
	{
		dir:     "internal/runtime/isolated",
		imports: []string{"tensor", "internal/slo", "internal/modelpkg", "internal/runtime"},
		tests:   []string{"internal/runtime/runtimetest", "internal/runtime/fake", "internal/runtime/ort"},
	},
	{dir: "internal/runtime/dispatch", imports: []string{"tensor", "internal/slo", "internal/modelpkg", "internal/runtime"}, tests: []string{"internal/runtime/runtimetest", "internal/runtime/fake"}},
	{dir: "internal/proposal", imports: []string{"tensor", "internal/modelpkg", "internal/media/tokenizer"}, tests: []string{"internal/modelpkg/modelpkgtest", "internal/profiler", "internal/runtime/ort"}},
	{dir: "internal/replay", imports: []string{"tensor", "oip", "client", "client/clientgrpc", "internal/slo", "internal/stats", "internal/plot", "internal/score", "internal/modelpkg", "internal/workload"}},
	{dir: "internal/demo", imports: []string{"client", "internal/slo", "internal/stats", "internal/modelpkg", "internal/replay"}, tests: []string{"tensor", "internal/score"}},
	{dir: "internal/media", imports: []string{"tensor", "internal/slo", "internal/modelpkg"}, tests: []string{"internal/media/tokenizer"}},
	{dir: "internal/plan", imports: []string{"internal/slo", "internal/stats", "internal/modelpkg"}},
	{
		dir: "internal/doctor", imports: []string{"internal/cachedir", "internal/slo", "internal/modelpkg", "internal/runtime"},
		tests: []string{"tensor", "internal/modelpkg/modelpkgtest", "internal/runtime/fake"},
	},
	{dir: "internal/cascade", imports: []string{"internal/slo", "internal/score", "internal/modelpkg"}},
	{dir: "internal/profiler", imports: []string{"tensor", "internal/slo", "internal/stats", "internal/modelpkg", "internal/runtime", "internal/plan", "internal/cascade"}},
	{dir: "internal/sched", imports: []string{"internal/slo", "internal/plan"}, tests: []string{"internal/record"}},
	{dir: "internal/record", imports: []string{"internal/slo", "internal/stats", "internal/sched"}, tests: []string{"internal/plan", "internal/record/recordtest"}},
	{dir: "internal/record/recordtest", imports: []string{"internal/slo", "internal/sched", "internal/record"}},
	{dir: "internal/feed", imports: []string{"internal/slo", "internal/plan", "internal/sched", "internal/record"}},
	{dir: "internal/sim", imports: []string{"internal/slo", "internal/workload", "internal/plan", "internal/sched", "internal/record"}},
	{
		dir:     "internal/obs",
		imports: []string{"status", "internal/slo", "internal/stats", "internal/plan", "internal/sched", "internal/record", "internal/feed"},
		tests:   []string{"internal/workload", "internal/sim", "internal/record/recordtest"},
	},
	{dir: "internal/scenario", imports: []string{"internal/slo", "internal/stats", "internal/strictyaml", "internal/workload", "internal/modelpkg", "internal/plan", "internal/sched", "internal/sim", "internal/plot"}},
	{
		dir: "internal/engine",
		imports: []string{"tensor", "status", "internal/slo", "internal/stats", "internal/pending", "internal/modelpkg", "internal/runtime", "internal/plan", "internal/sched", "internal/record",
			"internal/feed", "internal/obs", "internal/media", "internal/drift", "internal/score"},
		tests: []string{"internal/modelpkg/modelpkgtest", "internal/runtime/fake", "internal/runtime/runtimetest", "internal/runtime/ort", "internal/sim", "internal/workload"},
	},
	{
		dir: "internal/repository", imports: []string{"internal/slo", "internal/pending", "internal/modelpkg", "internal/engine"},
		tests: []string{"tensor", "internal/runtime", "internal/modelpkg/modelpkgtest", "internal/plan", "internal/runtime/fake"},
	},
	{
		dir: "internal/api",
		imports: []string{"tensor", "oip", "oip/inference", "status", "internal/slo", "internal/stats", "internal/access", "internal/modelpkg", "internal/feedback", "internal/jobs", "internal/runtime", "internal/obs",
			"internal/engine", "internal/repository", "internal/media"},
		tests: []string{"internal/runtime/fake", "web"},
	},
	{
		dir: "internal/server",
		imports: []string{"status", "internal/slo", "internal/pending", "internal/access", "internal/modelpkg", "internal/feedback", "internal/jobs", "internal/jobs/jetstream", "internal/runtime", "internal/runtime/ort", "internal/cachedir", "internal/runtime/remote", "internal/runtime/isolated", "internal/runtime/dispatch", "internal/runtime/sizing", "internal/plan", "internal/sched",
			"internal/obs", "internal/engine", "internal/repository", "internal/api", "internal/drift", "web"},
		tests: []string{"tensor", "oip", "oip/inference", "client", "client/clientgrpc", "internal/modelpkg/modelpkgtest", "internal/runtime/fake"},
	},
	{
		dir: "internal/servebench",
		imports: []string{"tensor", "oip", "oip/inference", "internal/stats", "internal/modelpkg", "internal/modelpkg/modelpkgtest", "internal/runtime",
			"internal/runtime/fake", "internal/replay", "internal/server"},
	},
	{dir: "examples/go", imports: []string{"tensor", "client"}},
	{dir: "internal/startbench"},
	{dir: "internal/exitbench", imports: []string{"tensor", "internal/score", "internal/modelpkg", "internal/replay", "internal/runtime", "internal/runtime/ort", "internal/cascade", "internal/exits", "internal/scenario"}},
	{dir: "internal/samplebench", imports: []string{"internal/slo", "internal/stats", "internal/score", "internal/modelpkg", "internal/replay", "internal/runtime", "internal/runtime/ort", "internal/plan", "internal/profiler", "internal/engine", "internal/scenario"}},
	{dir: "internal/driftbench", imports: []string{"status", "client", "internal/slo", "internal/score", "internal/modelpkg", "internal/workload", "internal/drift", "internal/replay"}},
	{dir: "internal/dominance", imports: []string{"internal/plan", "internal/scenario"}},
	{dir: "conformance", tests: []string{"oip/inference", "internal/modelpkg", "internal/runtime", "internal/runtime/fake", "internal/server"}},
	{
		dir: "cmd/mosel",
		imports: []string{"tensor", "oip", "status", "client", "client/clientgrpc", "internal/cachedir", "internal/doctor", "internal/slo", "internal/stats", "internal/pending", "internal/asynclog", "internal/access", "internal/modelpkg", "internal/feedback", "internal/runtime", "internal/runtime/ort",
			"internal/runtime/ort/library", "internal/runtime/isolated", "internal/profiler", "internal/proposal", "internal/media", "internal/plan", "internal/plot", "internal/replay", "internal/demo",
			"internal/workload", "internal/scenario", "internal/obs", "internal/server", "internal/example", "internal/drift"},
		tests: []string{"oip/inference", "internal/modelpkg/modelpkgtest"},
	},
}

// onlyIn names the rooms that alone may import something; none bans it.
var onlyIn = map[string][]string{
	"C":                               {"internal/runtime/ort"},
	"unsafe":                          {"internal/runtime/ort", "oip/inference"}, // the latter is generated
	"github.com/yalue/onnxruntime_go": {"internal/runtime/ort"},
	"github.com/spf13/cobra":          {"cmd/mosel"},
	"github.com/nats-io/nats-server/v2/server":                        {"internal/jobs/jetstream"},
	"github.com/prometheus/client_golang/prometheus":                  {"internal/obs", "internal/engine", "internal/server"},
	"github.com/prometheus/client_golang/prometheus/collectors":       {"internal/obs"},
	"github.com/prometheus/client_golang/prometheus/promhttp":         {"internal/obs", "internal/server"}, // of the first only its tests
	"go.opentelemetry.io/otel":                                        {"internal/server"},
	"go.opentelemetry.io/otel/trace":                                  {"internal/api", "internal/server"},
	"go.opentelemetry.io/otel/sdk/resource":                           {"internal/server"},
	"go.opentelemetry.io/otel/sdk/trace":                              {"internal/server"},
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp": {"internal/server"},
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc": {"internal/server"},
	"math/rand": {},            // math/rand/v2, with a seed
	"io/ioutil": {}, "log": {}, // the first is deprecated; log/slog is passed in
}

// pure lists the rooms of rule R4: the same inputs give the same bytes.
var pure = []string{"internal/slo", "internal/stats", "internal/score", "internal/drift", "internal/exits", "internal/plan", "internal/sched", "internal/record", "internal/sim"}

// pureImports is all of the standard library that a pure room may use: none of
// it reads a clock, starts a goroutine, locks, draws at random or does I/O.
var pureImports = []string{"cmp", "container/heap", "errors", "fmt", "iter", "maps", "math", "math/bits", "math/rand/v2",
	"slices", "sort", "strconv", "strings", "time"}

// pureNames is all that a pure room may use of packages that are not pure as a
// whole: durations are values, the clock is the driver's; a generator with a
// seed gives the same numbers every time, the package's own functions do not.
var pureNames = map[string][]string{
	"time":         {"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"},
	"math/rand/v2": {"Rand", "New", "PCG", "NewPCG"},
}

// facing lists the rooms through which what clients send passes. None of them
// opens a file, starts a program or connects to anything, so no request can make
// the server do so (docs/security.md).
var facing = []string{"tensor", "oip", "oip/inference", "internal/feedback", "internal/sched", "internal/engine", "internal/api"}

// openers are the packages that do, with what of them is harmless; nil is nothing.
var openers = map[string]*regexp.Regexp{
	"os":                regexp.MustCompile(`^(Err[A-Z].*|Getpid)$`),
	"os/exec":           nil,
	"path/filepath":     nil,
	"net":               regexp.MustCompile(`^(Addr|Conn|Error|Err[A-Z].*|IP|TCPAddr|UnixAddr|Listener|SplitHostPort|JoinHostPort)$`),
	"net/http":          regexp.MustCompile(`^(Header|Handler|HandlerFunc|Request|Response(Writer|Controller)|NewResponseController|NoBody|Flusher|Err[A-Z].*|Method.*|Status.*|StatusText|ServeMux|NewServeMux|Error|MaxBytes.*|CanonicalHeaderKey)$`),
	"net/http/httputil": nil,
}

// Bounds on size, so that every part can be read in one sitting.
const (
	functionLinesMax = 70
	fileLinesMax     = 500
	parametersMax    = 5
)

// shapeless are package names that do not say what is inside.
var shapeless = []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "base", "shared", "lib"}

// TestTableIsOneLine checks the table itself: every room lists only rooms above
// it, so the house has a direction and not just no cycles.
func TestTableIsOneLine(t *testing.T) {
	above := map[string]bool{}
	for _, r := range rooms {
		if above[r.dir] {
			t.Errorf("%s has two lines", r.dir)
		}
		for _, dir := range r.imports {
			if !above[dir] {
				t.Errorf("%s lists %s, which does not stand above it", r.dir, dir)
			}
		}
		above[r.dir] = true
	}
}

// TestImports checks rule R1 against the code: every package is a room of the
// table and imports only what its line lists.
func TestImports(t *testing.T) {
	h := readHouse(t)
	for _, dir := range h.rooms() {
		at := slices.IndexFunc(rooms, func(r room) bool { return r.dir == dir })
		if at < 0 {
			t.Errorf("%s is not in the table of rooms: give it a line in arch_test.go and in docs/architecture.md", dir)
			continue
		}
		for _, i := range h.imports(dir) {
			other, ours := i.room()
			if !ours || i.from.test && (other == dir || slices.Contains(rooms[at].tests, other)) {
				continue
			}
			if !slices.Contains(rooms[at].imports, other) {
				t.Errorf("%s: %s must not import %s (rule R1, the table in arch_test.go)", h.at(i.spec), dir, other)
			}
		}
	}
}

// TestNoStaleLines checks that the table allows nothing that nobody needs any
// more, so that it stays a map of what is.
func TestNoStaleLines(t *testing.T) {
	h := readHouse(t)
	for _, r := range rooms {
		if len(h.dirs[r.dir]) == 0 {
			t.Errorf("%s has a line in the table and no files", r.dir)
		}
		used, usedByTests := map[string]bool{}, map[string]bool{}
		for _, i := range h.imports(r.dir) {
			if other, ours := i.room(); ours {
				used[other] = used[other] || !i.from.test
				usedByTests[other] = true
			}
		}
		for _, dir := range r.imports {
			if !used[dir] {
				t.Errorf("%s may import %s and does not", r.dir, dir)
			}
		}
		for _, dir := range r.tests {
			if !usedByTests[dir] || used[dir] {
				t.Errorf("the tests of %s may import %s and do not, or others do too", r.dir, dir)
			}
		}
	}
}

// TestRoomsAreDescribed checks that docs/architecture.md has every room.
func TestRoomsAreDescribed(t *testing.T) {
	text, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rooms {
		if r.dir != "." && !strings.Contains(string(text), "`"+r.dir+"`") {
			t.Errorf("docs/architecture.md says nothing of %s", r.dir)
		}
	}
}

// TestOwnedImports checks that cgo, the runtime's library and the like stay in
// the one room that owns them.
func TestOwnedImports(t *testing.T) {
	h := readHouse(t)
	for _, dir := range h.rooms() {
		for _, i := range h.imports(dir) {
			if owners, owned := onlyIn[i.path]; owned && !slices.Contains(owners, dir) {
				t.Errorf("%s: %s must not import %s, only %q may", h.at(i.spec), dir, i.path, owners)
			}
		}
	}
}

// TestDependenciesHaveReasons checks that every module imported from outside
// has its line in docs/dependencies.md.
func TestDependenciesHaveReasons(t *testing.T) {
	text, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	h := readHouse(t)
	for _, dir := range h.rooms() {
		for _, i := range h.imports(dir) {
			first, _, _ := strings.Cut(i.path, "/")
			if _, ours := i.room(); ours || !strings.Contains(first, ".") {
				continue
			}
			if !listed(string(text), i.path) {
				t.Errorf("%s: docs/dependencies.md gives no reason for %s", h.at(i.spec), i.path)
			}
		}
	}
}

// listed reports whether a row of the table of dependencies names the module
// that the import path belongs to.
func listed(table, importPath string) bool {
	for module := importPath; strings.Contains(module, "/"); module = module[:strings.LastIndex(module, "/")] {
		if strings.Contains(table, "| `"+module+"` |") || strings.Contains(table, "| "+module+" |") {
			return true
		}
	}
	return false
}

// TestPackageComments checks that every package says, once, why it exists.
func TestPackageComments(t *testing.T) {
	h := readHouse(t)
	for _, dir := range h.rooms() {
		var docs []string
		for _, f := range h.dirs[dir] {
			if f.tree.Doc == nil || f.test {
				continue
			}
			docs = append(docs, f.name)
			want := "Package " + f.tree.Name.Name + " "
			if f.tree.Name.Name == "main" {
				want = "Command "
			}
			if !strings.HasPrefix(f.tree.Doc.Text(), want) {
				t.Errorf("%s: the package comment does not begin with %q", h.at(f.tree.Doc), want)
			}
		}
		if len(docs) != 1 {
			t.Errorf("%s has %d package comments %q, want one", dir, len(docs), docs)
		}
	}
}

// TestPackageNames checks that a name is a noun of the domain.
func TestPackageNames(t *testing.T) {
	h := readHouse(t)
	for _, dir := range h.rooms() {
		for _, f := range h.dirs[dir] {
			if slices.Contains(shapeless, strings.TrimSuffix(f.tree.Name.Name, "_test")) {
				t.Errorf("%s: package %s says nothing about what is inside", f.name, f.tree.Name.Name)
			}
		}
	}
}

// TestPurity checks rule R4: pure rooms see neither clock nor goroutine, lock,
// socket, disk or randomness.
func TestPurity(t *testing.T) {
	h := readHouse(t)
	for _, dir := range pure {
		for _, i := range h.imports(dir) {
			if _, ours := i.room(); !ours && !i.from.test && !slices.Contains(pureImports, i.path) {
				t.Errorf("%s: the pure package %s imports %q", h.at(i.spec), dir, i.path)
			}
		}
		for _, f := range h.dirs[dir] {
			if f.test {
				continue
			}
			for pkg, names := range pureNames {
				f.selectors(pkg, func(use *ast.SelectorExpr) {
					if !slices.Contains(names, use.Sel.Name) {
						t.Errorf("%s: the pure package %s uses %s of %s", h.at(use), dir, use.Sel.Name, pkg)
					}
				})
			}
			ast.Inspect(f.tree, func(n ast.Node) bool {
				if what := concurrency(n); what != "" {
					t.Errorf("%s: the pure package %s has a %s", h.at(n), dir, what)
				}
				return true
			})
		}
	}
}

// TestClientsOpenNothing checks the rooms through which requests pass.
func TestClientsOpenNothing(t *testing.T) {
	h := readHouse(t)
	for _, dir := range facing {
		for _, f := range h.dirs[dir] {
			if f.test {
				continue
			}
			for pkg, harmless := range openers {
				f.selectors(pkg, func(use *ast.SelectorExpr) {
					if harmless == nil || !harmless.MatchString(use.Sel.Name) {
						t.Errorf("%s: what clients send passes through %s, which must not use %s of %s", h.at(use), dir, use.Sel.Name, pkg)
					}
				})
			}
		}
	}
}

// TestSizes checks the bounds on files, functions and parameters. Generated
// code is nobody's to read.
func TestSizes(t *testing.T) {
	h := readHouse(t)
	for _, dir := range h.rooms() {
		for _, f := range h.dirs[dir] {
			if ast.IsGenerated(f.tree) {
				continue
			}
			if f.lines > fileLinesMax {
				t.Errorf("%s has %d lines, more than %d", f.name, f.lines, fileLinesMax)
			}
			ast.Inspect(f.tree, func(n ast.Node) bool {
				var signature *ast.FuncType
				switch n := n.(type) {
				case *ast.FuncDecl:
					signature = n.Type
				case *ast.FuncLit:
					signature = n.Type
				default:
					return true
				}
				if lines := h.lines(n); lines > functionLinesMax {
					t.Errorf("%s: a function of %d lines, more than %d", h.at(n), lines, functionLinesMax)
				}
				if params := parameters(signature); params > parametersMax {
					t.Errorf("%s: a function of %d parameters, more than %d", h.at(n), params, parametersMax)
				}
				return true
			})
		}
	}
}

// parameters counts a function's parameters; the handle of a running test is
// not one that a caller has to think about.
func parameters(signature *ast.FuncType) int {
	count := signature.Params.NumFields()
	for _, field := range signature.Params.List {
		kind := field.Type
		if star, ok := kind.(*ast.StarExpr); ok {
			kind = star.X
		}
		if use, ok := kind.(*ast.SelectorExpr); ok {
			if x, ok := use.X.(*ast.Ident); ok && x.Name == "testing" {
				count -= len(field.Names)
			}
		}
	}
	return count
}

// TestNoSleepingTests checks that tests wait for events, not for time to pass.
// Inside testing/synctest time is virtual and sleeping costs nothing.
func TestNoSleepingTests(t *testing.T) {
	h := readHouse(t)
	for _, dir := range h.rooms() {
		for _, f := range h.dirs[dir] {
			if !f.test || f.localName("testing/synctest") != "" {
				continue
			}
			f.selectors("time", func(use *ast.SelectorExpr) {
				if use.Sel.Name == "Sleep" {
					t.Errorf("%s: a test sleeps; wait for what it waits for, or use testing/synctest", h.at(use))
				}
			})
		}
	}
}
