package ort

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	onnx "github.com/yalue/onnxruntime_go"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime/ort/library"
	"github.com/mosel-serve/mosel/internal/slo"
)

// provider is how ONNX Runtime is asked for an execution provider.
type provider struct {
	name modelpkg.Provider
	// library is its name in ONNX Runtime, without "ExecutionProvider".
	library string
	// add adds it to the options of a session. Nil: every session has it.
	add func(o *onnx.SessionOptions, threads int) error
	// concurrent: runs of one session do not wait for each other, so that instances can
	// share a session.
	concurrent bool
	// install says what a machine without it needs.
	install string
}

const (
	installGPU = "install CUDA and cuDNN in the versions that ONNX Runtime's release notes name, and its library for GPUs: " +
		"onnxruntime-linux-x64-gpu-*.tgz of " + releases + ", or \"pip download --no-deps onnxruntime-gpu\" (a wheel is a zip file)"
	installOther = "a library of ONNX Runtime that is built with it is needed; " + releases + " lists the official ones"
	releases     = "https://github.com/microsoft/onnxruntime/releases"
)

var providers = []provider{
	{name: modelpkg.CPU, library: "CPU", concurrent: true},
	{name: modelpkg.CUDA, library: "CUDA", add: addCUDA, concurrent: true, install: installGPU},
	{name: modelpkg.TensorRT, library: "Tensorrt", add: addTensorRT, concurrent: true, install: installGPU + ", and TensorRT"},
	{name: modelpkg.OpenVINO, library: "OpenVINO", add: addOpenVINO,
		install: "run \"pip download --no-deps onnxruntime-openvino\" and unpack the wheel (a zip file); it has all that is needed"},
	{name: modelpkg.CoreML, library: "CoreML", add: addCoreML, install: installOther},
	{name: modelpkg.XNNPACK, library: "Xnnpack", add: addXNNPACK, install: installOther},
}

func addCUDA(o *onnx.SessionOptions, _ int) error {
	options, err := onnx.NewCUDAProviderOptions()
	if err != nil {
		return err
	}
	defer options.Destroy() //nolint:errcheck // the session's options have their own copy
	return o.AppendExecutionProviderCUDA(options)
}

func addTensorRT(o *onnx.SessionOptions, _ int) error {
	options, err := onnx.NewTensorRTProviderOptions()
	if err != nil {
		return err
	}
	defer options.Destroy() //nolint:errcheck // the session's options have their own copy
	return o.AppendExecutionProviderTensorRT(options)
}

// addOpenVINO uses OpenVINO on the processor. It has threads of its own.
func addOpenVINO(o *onnx.SessionOptions, threads int) error {
	return o.AppendExecutionProviderOpenVINO(map[string]string{
		"device_type": "CPU", "num_of_threads": strconv.Itoa(threads), "num_streams": "1"})
}

func addCoreML(o *onnx.SessionOptions, _ int) error { return o.AppendExecutionProvider("CoreML", nil) }

// addXNNPACK uses XNNPACK, which has threads of its own.
func addXNNPACK(o *onnx.SessionOptions, threads int) error {
	return o.AppendExecutionProvider("XNNPACK", map[string]string{"intra_op_num_threads": strconv.Itoa(threads)})
}

func find(name modelpkg.Provider) provider {
	return providers[slices.IndexFunc(providers, func(p provider) bool { return p.name == name })]
}

// Use makes later loads run graphs on these providers, in order of preference; none are
// plain CPU. If one of them cannot be used, the error has kind unsupported and says what
// to install. log receives where the operators of each graph run, unless it is plain CPU.
func (r *Runtime) Use(list []modelpkg.Provider, log *slog.Logger) error {
	has, err := r.Providers()
	if err != nil {
		return slo.E("use providers", slo.KindInternal, "%w", err)
	}
	for _, name := range list {
		p := find(name)
		if !slices.Contains(has, name) {
			return slo.E("use provider "+string(name), slo.KindUnsupported, "the ONNX Runtime library %s does not have it, only %s: %s",
				r.library.Path, modelpkg.ProviderNames(has), p.advice())
		}
		if p.add == nil {
			continue
		}
		if err := tryProvider(p); err != nil {
			return slo.E("use provider "+string(name), slo.KindUnsupported, "it cannot be used on this machine: %w%s: %s",
				&failure{message: err.Error()}, p.missing(r.library.Path), p.advice())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.providers, r.log = list, log
	return nil
}

// missing says which file the provider's own library lacks, if it has one and lacks any:
// ONNX Runtime does not tell.
func (p provider) missing(library string) string {
	own := filepath.Join(filepath.Dir(library), "libonnxruntime_providers_"+string(p.name)+".so")
	if _, err := os.Stat(own); err != nil {
		return ""
	}
	if fault := cannotLoad(own); fault != "" {
		return " (" + fault + ")"
	}
	return ""
}

// advice says what to do about a provider that is missing.
func (p provider) advice() string {
	return fmt.Sprintf("%s; then set %s to the path of its libonnxruntime", p.install, library.EnvironmentVariable)
}

// tryProvider makes a session with a provider, which loads all that it needs.
func tryProvider(p provider) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%v", fault)
		}
	}()
	return keepSignalStack(func() error {
		options, err := sessionOptions(1, []modelpkg.Provider{p.name, modelpkg.CPU})
		if err != nil {
			return err
		}
		defer options.Destroy() //nolint:errcheck // the session has its own copy, and Destroy fails only for nil
		graph, err := onnx.NewDynamicAdvancedSessionWithONNXData([]byte(identity), []string{"x"}, []string{"y"}, options)
		if err != nil {
			return err
		}
		return graph.Destroy()
	})
}

// Providers returns the providers that the library has.
func (r *Runtime) Providers() (list []modelpkg.Provider, err error) {
	names, err := availableProviders()
	for _, p := range providers {
		if slices.Contains(names, p.library+providerSuffix) {
			list = append(list, p.name)
		}
	}
	return list, err
}

// providerSuffix ends the names of providers in ONNX Runtime.
const providerSuffix = "ExecutionProvider"

// addProviders adds providers to the options of a session. Without the CPU among them,
// no operator may run there.
func addProviders(o *onnx.SessionOptions, threads int, list []modelpkg.Provider) error {
	if modelpkg.PlainCPU(list) {
		return nil
	}
	if err := o.AddSessionConfigEntry("session.record_ep_graph_assignment_info", "1"); err != nil {
		return err
	}
	if !slices.Contains(list, modelpkg.CPU) {
		if err := o.AddSessionConfigEntry("session.disable_cpu_ep_fallback", "1"); err != nil {
			return err
		}
	}
	for _, name := range list {
		if p := find(name); p.add != nil {
			if err := p.add(o, threads); err != nil {
				return err
			}
		}
	}
	return nil
}

// providersOf returns the providers that run a variant.
func (r *Runtime) providersOf(m *modelpkg.Model, variant int) ([]modelpkg.Provider, error) {
	r.mu.Lock()
	list := r.providers
	r.mu.Unlock()
	return m.ProvidersOf(variant, list)
}

// concurrent reports whether runs of one session with these providers do not wait for
// each other.
func concurrent(list []modelpkg.Provider) bool {
	return !slices.ContainsFunc(list, func(name modelpkg.Provider) bool { return !find(name).concurrent })
}

// placement says how many operators of a graph each provider has, such as "openvino 12,
// cpu 3", the most first.
func placement(counts map[string]int) string {
	type place struct {
		name  string
		count int
	}
	var places []place
	for library, n := range counts {
		name := strings.ToLower(strings.TrimSuffix(library, providerSuffix))
		places = append(places, place{name, n})
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(b.count-a.count, strings.Compare(a.name, b.name)) })
	var text []string
	for _, p := range places {
		text = append(text, fmt.Sprintf("%s %d", p.name, p.count))
	}
	return strings.Join(text, ", ")
}

// tell logs where the operators of a graph run, once for each graph.
func (r *Runtime) tell(k key, s *session) {
	graph := k.model.Digest + " " + k.path + " " + k.providers
	r.mu.Lock()
	quiet := k.providers == "" || r.log == nil || r.told[graph]
	r.told[graph] = true
	r.mu.Unlock()
	if quiet {
		return
	}
	counts, err := placements(s.handle)
	if err != nil {
		r.log.Warn("where the operators of a graph run is not known", "model", k.model.Name, "graph", k.path, "error", err)
		return
	}
	r.log.Info("a graph is loaded", "model", k.model.Name, "graph", k.path, "operators", placement(counts))
}
