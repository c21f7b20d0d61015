package modelpkg

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/strictyaml"
	"go.yaml.in/yaml/v3"
)

// Provider is an execution provider of ONNX Runtime: the part of it that runs operators
// on one kind of device. A list of providers is in order of preference: an operator runs
// on the first that can run it.
type Provider string

// The providers. Which of them exist depends on the library.
const (
	CPU      Provider = "cpu"
	CUDA     Provider = "cuda"
	TensorRT Provider = "tensorrt"
	OpenVINO Provider = "openvino"
	CoreML   Provider = "coreml"
	XNNPACK  Provider = "xnnpack"
)

// Providers returns all providers.
func Providers() []Provider { return []Provider{CPU, CUDA, TensorRT, OpenVINO, CoreML, XNNPACK} }

// ParseProviders returns the providers of a list of names. No names are plain CPU, for
// which the list is nil.
func ParseProviders(names []string) (list []Provider, err error) {
	for _, name := range names {
		p := Provider(strings.ToLower(strings.TrimSpace(name)))
		if !slices.Contains(Providers(), p) {
			return nil, unknownProvider(name)
		}
		if slices.Contains(list, p) {
			return nil, fmt.Errorf("the provider %s is given twice", p)
		}
		if slices.Contains(list, CPU) {
			return nil, fmt.Errorf("%s comes after cpu, which runs every operator, so it would never be used: put cpu last", p)
		}
		list = append(list, p)
	}
	if PlainCPU(list) {
		return nil, nil
	}
	return list, nil
}

func unknownProvider(name string) error {
	return fmt.Errorf("the provider %q is not known; known: %s", strictyaml.Clip(name, 40), ProviderNames(Providers()))
}

// PlainCPU reports whether a list has no other provider than the CPU.
func PlainCPU(list []Provider) bool {
	return !slices.ContainsFunc(list, func(p Provider) bool { return p != CPU })
}

// ProviderNames returns the names of a list, with commas between them. An empty list is
// plain CPU.
func ProviderNames(list []Provider) string {
	if len(list) == 0 {
		return string(CPU)
	}
	return strings.Join(providerNames(list), ",")
}

func providerNames(list []Provider) (names []string) {
	for _, p := range list {
		names = append(names, string(p))
	}
	return names
}

// ProvidersOf returns those of a list of providers that a variant may use, in the same
// order. An empty list is plain CPU. The error says why there is none.
func (m *Model) ProvidersOf(variant int, list []Provider) ([]Provider, error) {
	v := m.Variants[variant]
	if len(list) == 0 {
		list = []Provider{CPU}
	}
	if v.Providers == nil {
		return list, nil
	}
	var may []Provider
	for _, p := range list {
		if slices.Contains(v.Providers, p) {
			may = append(may, p)
		}
	}
	if may == nil {
		return nil, fmt.Errorf("variant %s may run on %s (providers in %s), but only on %s is asked for: add one of its providers with --providers",
			v.Name, ProviderNames(v.Providers), FileName, ProviderNames(list))
	}
	return may, nil
}

// readProviders reads the providers that a variant may use.
func (r *report) readProviders(n *yaml.Node, v *variantSpec) {
	v.provided = strictyaml.PlaceOf(n)
	r.List(n, "a variant's providers", len(Providers()), func(n *yaml.Node) {
		v.providers = append(v.providers, r.Text(n, "a provider"))
	})
}

// buildProviders checks the providers that a variant may use.
func (r *report) buildProviders(vs variantSpec) (list []Provider) {
	if vs.provided.Given() && vs.remote.address.Given() {
		r.At(vs.provided, "providers is for graphs of the package; the variant runs on another server")
	}
	r.Unique(vs.providers, "provider")
	for _, w := range vs.providers {
		if w.Given() && !slices.Contains(Providers(), Provider(w.Text)) {
			r.At(w.Place, "%v", unknownProvider(w.Text))
		}
		list = append(list, Provider(w.Text))
	}
	return list
}
