package ort

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/internal/slo"
)

// requireProviders is an environment variable with providers, separated by commas, that
// the library must have and be able to use, so that their tests are not skipped.
const requireProviders = "MOSEL_REQUIRE_PROVIDERS"

// usable returns the lists of providers to test: each that the library has and can use
// on this machine, before the CPU.
func usable(t testing.TB) (lists [][]modelpkg.Provider) {
	t.Helper()
	rt := open(t)
	defer rt.Close()
	has, err := rt.Providers()
	if err != nil || !slices.Contains(has, modelpkg.CPU) {
		t.Fatalf("providers %v, %v", has, err)
	}
	required := strings.FieldsFunc(os.Getenv(requireProviders), func(r rune) bool { return r == ',' })
	for _, p := range modelpkg.Providers() {
		if p == modelpkg.CPU {
			continue
		}
		list := []modelpkg.Provider{p, modelpkg.CPU}
		switch err := rt.Use(list, nil); {
		case err == nil:
			lists = append(lists, list)
		case slices.Contains(required, string(p)):
			t.Fatalf("%s asks for %s: %v", requireProviders, p, err)
		case slo.KindOf(err) != slo.KindUnsupported:
			t.Error(err)
		}
	}
	if lists == nil {
		t.Skipf("the library has no provider but the CPU; %s=openvino makes this a failure", requireProviders)
	}
	return lists
}

// TestProvidersConform runs the conformance suite on every provider that there is.
func TestProvidersConform(t *testing.T) {
	for _, list := range usable(t) {
		t.Run(string(list[0]), func(t *testing.T) {
			opened := func(t testing.TB) runtime.Runtime {
				rt := open(t)
				if err := rt.Use(list, nil); err != nil {
					t.Fatal(err)
				}
				return rt
			}
			for name, m := range map[string]*modelpkg.Model{"two modalities": twoModalities(t), "dynamic length": dynamicLength(t), "texts": texts(t)} {
				t.Run(name, func(t *testing.T) {
					runtimetest.Run(t, runtimetest.Suite{Open: opened, Model: m, Tolerance: 1e-3})
				})
			}
		})
	}
}

// TestProvidersAnswer compares the answers of every provider with those of the CPU, and
// looks for what the log says about where operators run.
func TestProvidersAnswer(t *testing.T) {
	m := digits(t, 4)
	items := batch(m, 2)
	answers := func(t *testing.T, list []modelpkg.Provider) (rows [][]float64) {
		t.Helper()
		rt := open(t)
		defer rt.Close()
		var log bytes.Buffer
		if err := rt.Use(list, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
		in, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		for v := range m.Variants {
			out, err := in.Run(t.Context(), v, items)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, modelpkg.Floats(out[0], 0), modelpkg.Floats(out[0], 1))
		}
		if list != nil && !strings.Contains(log.String(), `graph=onnx/text.onnx operators="`) {
			t.Errorf("the log does not say where operators run: %s", log.String())
		}
		if list == nil && log.Len() > 0 {
			t.Errorf("plain CPU logs %s", log.String())
		}
		return rows
	}
	lists := usable(t)
	want := answers(t, nil)
	for _, list := range lists {
		got := answers(t, list)
		for i := range want {
			for k := range want[i] {
				if d := got[i][k] - want[i][k]; d < -0.05 || d > 0.05 {
					t.Errorf("%s, variant %d: %v, on the CPU %v", list[0], i/2, got[i], want[i])
					break
				}
			}
		}
	}
}

// TestProvidersWithoutCPU refuses a graph of texts, which only the CPU can run, unless it
// may run there.
func TestProvidersWithoutCPU(t *testing.T) {
	for _, list := range usable(t) {
		rt := open(t)
		for _, with := range [][]modelpkg.Provider{list[:1], list} {
			var log bytes.Buffer
			if err := rt.Use(with, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
				t.Fatal(err)
			}
			in, err := rt.Load(t.Context(), texts(t), runtime.Options{Threads: 1})
			switch {
			case len(with) == 1:
				if slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), "some of its operators cannot run on "+string(list[0])+": end --providers with cpu") {
					t.Errorf("without cpu: %v", err)
				}
			case err != nil || !strings.Contains(log.String(), `operators="cpu `):
				t.Errorf("with cpu: %v, logged %s", err, log.String())
			default:
				if err := in.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestProvidersThatAreMissing asks the library for what it does not have.
func TestProvidersThatAreMissing(t *testing.T) {
	rt := open(t)
	defer rt.Close()
	has, err := rt.Providers()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range modelpkg.Providers() {
		if slices.Contains(has, p) {
			continue
		}
		err := rt.Use([]modelpkg.Provider{p, modelpkg.CPU}, nil)
		if slo.KindOf(err) != slo.KindUnsupported || !strings.Contains(err.Error(), "does not have it, only "+modelpkg.ProviderNames(has)) ||
			!strings.Contains(err.Error(), "MOSEL_ONNXRUNTIME") {
			t.Errorf("%s: %v", p, err)
		}
	}
	if list := rt.Arguments(); list != nil {
		t.Errorf("after refusals the runtime uses %v", list)
	}
}

// TestVariantsRefuseProviders loads a variant that may not use the provider.
func TestVariantsRefuseProviders(t *testing.T) {
	rt := open(t)
	defer rt.Close()
	m := *twoModalities(t)
	m.Variants = slices.Clone(m.Variants)
	m.Variants[1].Providers = []modelpkg.Provider{modelpkg.CUDA}
	in, err := rt.Load(t.Context(), &m, runtime.Options{Threads: 1})
	if in != nil || slo.KindOf(err) != slo.KindUnsupported || !strings.Contains(err.Error(), "may run on cuda (providers in mosel.yaml), but only on cpu is asked for") {
		t.Errorf("%v, %v", in, err)
	}
	in, err = rt.Load(t.Context(), &m, runtime.Options{Threads: 1, Variants: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
}

func TestPlacement(t *testing.T) {
	got := placement(map[string]int{"CPUExecutionProvider": 3, "OpenVINOExecutionProvider": 12, "CUDAExecutionProvider": 3})
	if got != "openvino 12, cpu 3, cuda 3" {
		t.Errorf("%q", got)
	}
}

// TestMissingFileOfAProvider has a library of a provider that the system cannot load.
func TestMissingFileOfAProvider(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "libonnxruntime_providers_cuda.so"), []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, "libonnxruntime.so")
	if got := find(modelpkg.CUDA).missing(at); !strings.Contains(got, "libonnxruntime_providers_cuda.so") {
		t.Errorf("it says %q", got)
	}
	if got := find(modelpkg.TensorRT).missing(at); got != "" {
		t.Errorf("of a provider without a library of its own it says %q", got)
	}
}
