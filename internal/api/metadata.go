package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// extensions of the protocol that are served.
var extensions = []string{"binary_tensor_data", "model_configuration", "model_repository"}

func (h *handler) server(w http.ResponseWriter, _ *http.Request, _ arguments) error {
	return writeJSON(w, http.StatusOK, oip.ServerMetadata{Name: "mosel", Version: h.cfg.Version, Extensions: extensions})
}

func (*handler) live(w http.ResponseWriter, _ *http.Request, _ arguments) error {
	return writeJSON(w, http.StatusOK, oip.ServerLive{Live: true})
}

func (h *handler) ready(w http.ResponseWriter, _ *http.Request, _ arguments) error {
	return writeReady(w, h.engine.Ready())
}

func writeReady(w http.ResponseWriter, ready bool) error {
	return writeJSON(w, readyStatus(ready), oip.ServerReady{Ready: ready, Live: true})
}

// readyStatus is the status of an answer about readiness: some clients read
// only that, others only the body.
func readyStatus(ready bool) int {
	if ready {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

func (h *handler) modelReady(w http.ResponseWriter, _ *http.Request, args arguments) error {
	s, err := h.engine.Served(args.model, args.version)
	if err != nil {
		return err
	}
	ready := h.engine.Ready() // a model is warm when the engine is
	return writeJSON(w, readyStatus(ready), oip.ModelReady{Name: s.Model.Name, Ready: ready})
}

func (h *handler) models(w http.ResponseWriter, _ *http.Request, _ arguments) error {
	list := oip.ModelList{Models: []string{}}
	for _, s := range h.engine.List() {
		list.Models = append(list.Models, s.Model.Name)
	}
	return writeJSON(w, http.StatusOK, list)
}

// indexBytesMax bounds the body of a question about the repository, which has
// one boolean in it.
const indexBytesMax = 4 << 10

func (h *handler) index(w http.ResponseWriter, r *http.Request, _ arguments) error {
	var question struct {
		Ready bool `json:"ready"` // list only what is ready
	}
	body := h.upload(w, r, indexBytesMax)
	err := json.NewDecoder(&body).Decode(&question)
	if _, known := errors.AsType[*slo.Error](err); known {
		return err
	}
	if err != nil && !errors.Is(err, io.EOF) { // no body is no question
		return slo.E("", slo.KindInvalid, "the body is not as the protocol says: %w", err)
	}
	entries := []oip.RepositoryEntry{}
	for _, s := range h.engine.List() {
		entry := oip.RepositoryEntry{Name: s.Model.Name, Version: s.Model.Version, State: "READY"}
		if !h.engine.Ready() {
			if question.Ready {
				continue
			}
			entry.State, entry.Reason = "UNAVAILABLE", "the server is shutting down"
		}
		entries = append(entries, entry)
	}
	return writeJSON(w, http.StatusOK, entries)
}

// platform is what Triton's clients call ONNX graphs.
const platform, backend = "onnxruntime_onnx", "onnxruntime"

func (h *handler) metadata(w http.ResponseWriter, _ *http.Request, args arguments) error {
	s, err := h.engine.Served(args.model, args.version)
	if err != nil {
		return err
	}
	m := s.Model
	answer := oip.ModelMetadata{Name: m.Name, Versions: []string{m.Version}, Platform: platform,
		Inputs: []oip.TensorMetadata{}, Outputs: []oip.TensorMetadata{}, Properties: properties(s)}
	for _, in := range m.Inputs {
		answer.Inputs = append(answer.Inputs, describe(in.Spec))
	}
	for _, out := range m.Outputs {
		answer.Outputs = append(answer.Outputs, describe(out))
	}
	return writeJSON(w, http.StatusOK, answer)
}

func describe(s modelpkg.Spec) oip.TensorMetadata {
	return oip.TensorMetadata{Name: s.Name, Datatype: s.DType.String(), Shape: batched(s.Shape)}
}

// batched puts a batch dimension of any size before a shape.
func batched(s tensor.Shape) tensor.Shape {
	return append(tensor.Shape{-1}, s...)
}

// properties are facts about a model that the protocol has no field for; a list
// in them is comma separated. docs/protocol.md names them.
func properties(s engine.Served) map[string]string {
	m := s.Model
	p := map[string]string{
		"modalities": strings.Join(m.ModalityNames(), ","),
		"variants":   strings.Join(variantNames(m), ","),
	}
	for _, modality := range m.Modalities {
		p["modality."+modality.Name] = strings.Join(inputNames(m, modality.Inputs), ",")
	}
	for _, in := range m.Inputs { // what a client needs to make the input from an ordinary file
		if in.Media != modelpkg.MediaNone {
			p["media."+in.Name] = string(in.Media)
		}
		if in.SampleRate > 0 {
			p["sample_rate."+in.Name] = strconv.Itoa(in.SampleRate)
		}
	}
	for _, v := range s.Profile.Variants {
		p["accuracy."+v.Name] = strconv.FormatFloat(v.Accuracy.Mean, 'f', -1, 64)
	}
	for name, value := range map[string]string{"description": m.Description, "task": m.Task, "metric": m.Metric, "labels": strings.Join(m.Labels, ",")} {
		if value != "" {
			p[name] = value
		}
	}
	return p
}

func variantNames(m *modelpkg.Model) []string {
	names := make([]string, len(m.Variants))
	for i, v := range m.Variants {
		names[i] = v.Name
	}
	return names
}

func inputNames(m *modelpkg.Model, indices []int) []string {
	names := make([]string, len(indices))
	for i, index := range indices {
		names[i] = m.Inputs[index].Name
	}
	return names
}

func (h *handler) config(w http.ResponseWriter, _ *http.Request, args arguments) error {
	s, err := h.engine.Served(args.model, args.version)
	if err != nil {
		return err
	}
	m := s.Model
	answer := oip.ModelConfig{Name: m.Name, Platform: platform, Backend: backend, MaxBatchSize: m.Limits.BatchItemsMax,
		Input: []oip.ModelInput{}, Output: []oip.ModelOutput{}}
	for _, in := range m.Inputs {
		answer.Input = append(answer.Input, oip.ModelInput{Name: in.Name, DataType: configType(in.DType), Format: "FORMAT_NONE",
			Dims: append(tensor.Shape{}, in.Shape...), Optional: !neededByAll(m, in.Modality)})
	}
	for _, out := range m.Outputs {
		answer.Output = append(answer.Output, oip.ModelOutput{Name: out.Name, DataType: configType(out.DType), Dims: append(tensor.Shape{}, out.Shape...)})
	}
	return writeJSON(w, http.StatusOK, answer)
}

// configType is a datatype's name in Triton's configuration.
func configType(d tensor.DType) string {
	if d == tensor.Bytes {
		return "TYPE_STRING"
	}
	return "TYPE_" + d.String()
}

// neededByAll reports whether every variant runs on the modality.
func neededByAll(m *modelpkg.Model, modality int) bool {
	for _, v := range m.Variants {
		if !v.Modalities.Has(1 << modality) {
			return false
		}
	}
	return true
}
