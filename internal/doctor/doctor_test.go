package doctor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// example is a package with samples and a profile named cpu.
const example = "../../models/digits"

// healthy is a configuration in which nothing is wrong.
func healthy(t *testing.T) Config {
	t.Helper()
	return Config{
		ModelsDir: small(t), Cores: 2, Connections: 100, FilesMax: 1000, Temporary: t.TempDir(),
		Addresses: []Address{{"--addr", "127.0.0.1:0"}},
		Caches:    []cachedir.Dir{cachedir.At(filepath.Join(t.TempDir(), "cache"))},
		Free:      func(string) (uint64, error) { return 100 << 30, nil },
		Open: func(context.Context) (runtime.Runtime, string, error) {
			return fake.New(fake.Config{}), "onnxruntime 1.26.0", nil
		},
	}
}

// small is a directory with a package without samples, and a profile named made-up.
func small(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	m := modelpkgtest.Model("m", []modelpkg.Spec{{Name: "a", DType: tensor.FP32, Shape: []int64{2}}}, modelpkg.Spec{Name: "y", DType: tensor.FP32, Shape: []int64{2}}, "a")
	if _, err := modelpkgtest.Write(dir, m, []modelpkgtest.Measured{{Accuracy: 0.9, Item: 1e6}}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// find returns the findings of a check that are not ok.
func find(t *testing.T, c Config, check string) (wrong []Finding) {
	t.Helper()
	report, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if report.OK != (report.Count(Fail) == 0) {
		t.Errorf("ok is %v with %d failures", report.OK, report.Count(Fail))
	}
	for _, f := range report.Checks {
		if f.State != OK && (f.Fix == "" || strings.Contains(f.Fix, "\n") || strings.Contains(f.Found, "\n")) {
			t.Errorf("a finding that is not one line, or says nothing of what to do: %+v", f)
		}
		switch {
		case f.State != OK && f.Check == check:
			wrong = append(wrong, f)
		case f.State != OK && f.State != Warn:
			t.Errorf("something else is wrong: %+v", f)
		}
	}
	return wrong
}

// TestTimes compares the example's times with its profile on machines of other speeds, in
// virtual time.
func TestTimes(t *testing.T) {
	m, err := modelpkg.Load(example)
	if err != nil {
		t.Fatal(err)
	}
	p, err := modelpkg.FindProfile(m, "cpu")
	if err != nil {
		t.Fatal(err)
	}
	for times, want := range map[float64]Finding{
		1:   {State: OK, Found: "cpu; variants take 1.00 times as long as it says"},
		1.4: {State: OK, Found: "cpu; variants take 1.40 times as long as it says"},
		5:   {State: Warn, Found: "variants take 5 times as long as profile cpu says"},
		0.5: {State: Warn, Found: "variants take 0.5 times as long as profile cpu says"},
	} {
		synctest.Test(t, func(t *testing.T) {
			rt := fake.New(fake.Config{Profiles: []*modelpkg.Profile{p}, Scale: times})
			c := &checkup{Config: Config{Device: "cpu", Time: true}}
			c.profile(t.Context(), rt, m)
			if got := c.report.Checks; len(got) != 1 || got[0].State != want.State || got[0].Found != want.Found || (got[0].Fix == "") != (want.State == OK) {
				t.Errorf("%v times as slow: %+v, want %+v", times, got, want)
			}
		})
	}
}

func TestHealthyWithoutRuns(t *testing.T) {
	if wrong := find(t, healthy(t), "profile"); len(wrong) != 1 || wrong[0].State != Warn {
		t.Error(wrong)
	}
}

// broken are setups with one thing wrong.
var broken = []struct {
	name  string
	spoil func(t *testing.T, c *Config)
	check string
	state State
	found string // part of it
	fix   string // likewise
}{
	{"no library", func(_ *testing.T, c *Config) {
		c.Open = func(context.Context) (runtime.Runtime, string, error) {
			return nil, "", slo.E("open", slo.KindNotFound, "tried:\nmuch")
		}
	}, "library", Warn, "not installed", "mosel runtime install"},
	{"a bad library", func(_ *testing.T, c *Config) {
		c.Open = func(context.Context) (runtime.Runtime, string, error) {
			return nil, "", slo.E("open", slo.KindInvalid, "not a library\nat all")
		}
	}, "library", Fail, "not a library", "MOSEL_ONNXRUNTIME"},
	{"no model directory", func(t *testing.T, c *Config) { t.Helper(); c.ModelsDir = filepath.Join(t.TempDir(), "none") }, "models", Fail, "no such file", "--models"},
	{"a file in its place", func(t *testing.T, c *Config) {
		t.Helper()
		c.ModelsDir = filepath.Join(t.TempDir(), "file")
		write(t, c.ModelsDir, "")
	}, "models", Fail, "not a directory", "--models"},
	{"an empty model directory", func(t *testing.T, c *Config) { t.Helper(); c.ModelsDir = t.TempDir() }, "models", Fail, "no model package", "mosel init"},
	{"a package with errors", func(t *testing.T, c *Config) {
		t.Helper()
		c.ModelsDir = t.TempDir()
		write(t, filepath.Join(c.ModelsDir, "bad", modelpkg.FileName), "format: 1\nname: x y\nlimit: 3\n")
	}, "models", Fail, "5 problems, the first: ", "mosel check "},
	{"a package that is not there", func(t *testing.T, c *Config) { t.Helper(); c.Only = []string{"none"} }, "models", Fail, "no such model package", "mosel check "},
	{"no such profile", func(_ *testing.T, c *Config) { c.Device = "cpu-other" }, "profile", Fail, "cpu-other", "mosel profile "},
	{"no profile at all", func(t *testing.T, c *Config) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(c.ModelsDir, "m", "profiles")); err != nil {
			t.Fatal(err)
		}
	}, "profile", Fail, "there is none in ", "mosel profile "},
	{"a profile of another machine", func(_ *testing.T, _ *Config) {}, "profile", Warn, "profile made-up is not named like this machine", "mosel profile "},
	{"other providers", func(_ *testing.T, c *Config) { c.Providers = []modelpkg.Provider{"openvino", "cpu"} }, "profile", Warn, "not with openvino,cpu", "--providers"},
	{"an address of another machine", func(_ *testing.T, c *Config) { c.Addresses[0].Address = "192.0.2.1:80" }, "ports", Fail, "192.0.2.1", "--addr"},
	{"no address", func(_ *testing.T, c *Config) { c.Addresses[0].Address = "localhost" }, "ports", Fail, "localhost", "--addr"},
	{"few open files", func(_ *testing.T, c *Config) { c.FilesMax = 200 }, "files", Warn, "fewer connections than --connections 100", "ulimit -n 358"},
	{"hardly any open files", func(_ *testing.T, c *Config) { c.FilesMax = 100 }, "files", Fail, "the limit is 100", "LimitNOFILE=358"},
	{"a full disk", func(_ *testing.T, c *Config) { c.Free = func(string) (uint64, error) { return 100, nil } }, "disk", Fail, "0 MiB free", "TMPDIR"},
	{"a nearly full disk", func(_ *testing.T, c *Config) { c.Free = func(string) (uint64, error) { return 500 << 20, nil } }, "disk", Warn, "only 500 MiB free", "TMPDIR"},
	{"no temporary directory", func(_ *testing.T, c *Config) {
		c.Free = func(string) (uint64, error) { return 0, errors.New("gone") }
	}, "disk", Fail, "gone", "TMPDIR"},
	{"jobs in a file", func(t *testing.T, c *Config) {
		t.Helper()
		c.JobsDir = filepath.Join(t.TempDir(), "file")
		write(t, c.JobsDir, "")
	}, "disk", Fail, "not a directory", "--jobs"},
	{"no cache", func(t *testing.T, c *Config) { t.Helper(); c.Caches = []cachedir.Dir{blocked(t), blocked(t)} }, "cache", Fail, "none can be written", "XDG_CACHE_HOME"},
	{"no cache of the user", func(t *testing.T, c *Config) { t.Helper(); c.Caches = []cachedir.Dir{blocked(t), c.Caches[0]} }, "cache", Warn, "in place of", "XDG_CACHE_HOME"},
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// blocked is a directory that nobody, not even root, can make.
func blocked(t *testing.T) cachedir.Dir {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	return cachedir.At(filepath.Join(file, "cache"))
}

func TestBroken(t *testing.T) {
	for _, b := range broken {
		t.Run(b.name, func(t *testing.T) {
			c := healthy(t)
			b.spoil(t, &c)
			wrong := find(t, c, b.check)
			for _, f := range wrong {
				if f.State == b.state && strings.Contains(f.Found, b.found) && strings.Contains(f.Fix, b.fix) {
					return
				}
			}
			t.Errorf("found %+v, want %s %q with the fix %q", wrong, b.state, b.found, b.fix)
		})
	}
}

// TestTakenPorts checks a port that a mosel has, and one that something else has.
func TestTakenPorts(t *testing.T) {
	server := func(answer string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for address, want := range map[string]State{server(`{"name":"mosel"}`): Warn, server("hello"): Fail, server(`{"name":"triton"}`): Fail, silent.Addr().String(): Fail} {
		c := healthy(t)
		c.Addresses = []Address{{"--addr", address}}
		if wrong := find(t, c, "ports"); len(wrong) != 1 || wrong[0].State != want || !strings.Contains(wrong[0].Fix, "--addr 127.0.0.1:PORT") {
			t.Errorf("%+v, want %s", wrong, want)
		}
	}
}

// TestNothingIsLeft checks that the checks change nothing.
func TestNothingIsLeft(t *testing.T) {
	c := healthy(t)
	c.JobsDir = filepath.Join(t.TempDir(), "jobs")
	find(t, c, "")
	if _, err := os.Stat(c.JobsDir); err == nil {
		t.Error("it made the directory of jobs")
	}
	if left, err := os.ReadDir(c.Caches[0].Path); err != nil || len(left) > 0 {
		t.Errorf("the cache has %v, %v", left, err)
	}
}
