package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/media"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/repository"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// extensions of the protocol that are supported; "mosel" stands for objectives.
var extensions = []string{"binary_tensor_data", "model_configuration", "model_repository", "statistics", "mosel"}

// This file has the descriptions of the server and its models, for both transports, and
// REST's handlers for them. gRPC's handlers are in service.go.

func (a *API) describeServer() oip.ServerMetadata {
	list := extensions
	if a.cfg.Feedback != nil {
		list = append(slices.Clip(list), "feedback")
	}
	return oip.ServerMetadata{Name: "mosel", Version: a.cfg.Version, Extensions: list}
}

func (a *API) server(w http.ResponseWriter, _ *http.Request, _ arguments) error {
	return writeJSON(w, http.StatusOK, a.describeServer())
}

func (a *API) serverLive(w http.ResponseWriter, _ *http.Request, _ arguments) error {
	live := !a.dead.Load()
	return writeJSON(w, readyStatus(live), oip.ServerLive{Live: live})
}

func (a *API) serverReady(w http.ResponseWriter, _ *http.Request, _ arguments) error {
	ready := a.ready()
	return writeJSON(w, readyStatus(ready), oip.ServerReady{Ready: ready, Live: !a.dead.Load()})
}

// readyStatus is the status of an answer about health: some clients read only the status,
// others only the body.
func readyStatus(ready bool) int {
	if ready {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

// modelIsReady reports whether a model takes requests. A model that is in the repository
// and not loaded is not ready; for an unknown model the error has kind not found.
func (b *backend) modelIsReady(name, version string) (bool, error) {
	l, err := b.engine.Use(name, version)
	if err == nil {
		l.Release()
		return b.engine.Ready(), nil
	}
	known := slices.ContainsFunc(b.models.Index(), func(e repository.Entry) bool {
		return e.Name == name && (version == "" || e.Version == version)
	})
	if known {
		return false, nil
	}
	return false, err
}

func (a *API) modelReady(w http.ResponseWriter, r *http.Request, args arguments) error {
	ready, err := args.modelIsReady(r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	ready = ready && a.ready()
	return writeJSON(w, readyStatus(ready), oip.ModelReady{Name: r.PathValue("model"), Ready: ready})
}

func (*API) models(w http.ResponseWriter, _ *http.Request, args arguments) error {
	list := oip.ModelList{Models: []string{}}
	for _, s := range args.engine.List() {
		if !slices.Contains(list.Models, s.Model.Name) {
			list.Models = append(list.Models, s.Model.Name)
		}
	}
	return writeJSON(w, http.StatusOK, list)
}

// listed returns the index of the repository.
func (b *backend) listed(readyOnly bool) []oip.RepositoryEntry {
	entries := []oip.RepositoryEntry{}
	for _, e := range b.models.Index() {
		if !b.engine.Ready() && e.State == repository.Ready {
			e.State, e.Reason = repository.Unavailable, slo.ReasonDraining.Sentence()
		}
		if readyOnly && e.State != repository.Ready {
			continue
		}
		entries = append(entries, oip.RepositoryEntry{Name: e.Name, Version: e.Version, State: string(e.State), Reason: e.Reason})
	}
	return entries
}

// smallBytesMax bounds the bodies of requests to the repository, which have one or two
// booleans.
const smallBytesMax = 64 << 10

// small reads a small body in JSON. The body may be empty.
func (a *API) small(w http.ResponseWriter, r *http.Request, question any) error {
	body := a.newBodyReader(w, r, smallBytesMax)
	err := json.NewDecoder(&body).Decode(question)
	if _, known := errors.AsType[*slo.Error](err); known {
		return err
	}
	if err != nil && !errors.Is(err, io.EOF) { // an empty body is allowed
		return slo.E("", slo.KindInvalid, "the body is not valid JSON of this request: %w", err)
	}
	return nil
}

func (a *API) index(w http.ResponseWriter, r *http.Request, args arguments) error {
	var question struct {
		Ready bool `json:"ready"` // list only ready models
	}
	if err := a.small(w, r, &question); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, args.listed(question.Ready))
}

// noOverrides refuses the parameters of Triton's load: a configuration, or files of the
// model. Only the model directory decides what is served.
func noOverrides(parameters int) error {
	if parameters > 0 {
		return slo.E("", slo.KindUnsupported, "parameters of a load, such as a configuration or files, are not supported: the model is loaded as it is in the model directory")
	}
	return nil
}

func (a *API) load(w http.ResponseWriter, r *http.Request, args arguments) error {
	var question struct {
		Parameters map[string]any `json:"parameters"`
	}
	if err := a.small(w, r, &question); err != nil {
		return err
	}
	if err := noOverrides(len(question.Parameters)); err != nil {
		return err
	}
	if err := args.models.Load(r.PathValue("model")); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct{}{})
}

func (a *API) unload(w http.ResponseWriter, r *http.Request, args arguments) error {
	var question struct {
		Parameters map[string]any `json:"parameters"` // ignored: unload_dependents, because no model depends on another
	}
	if err := a.small(w, r, &question); err != nil {
		return err
	}
	if err := args.models.Unload(r.PathValue("model")); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct{}{})
}

// platform and runs are Triton's names for ONNX graphs and for the software that runs
// them.
const platform, runs = "onnxruntime_onnx", "onnxruntime"

// describeModel describes a model: its versions, inputs, outputs and properties.
func (b *backend) describeModel(name, version string) (oip.ModelMetadata, error) {
	l, err := b.engine.Use(name, version)
	if err != nil {
		return oip.ModelMetadata{}, err
	}
	defer l.Release()
	m := l.Model
	answer := oip.ModelMetadata{Name: m.Name, Platform: platform, Inputs: []oip.TensorMetadata{}, Outputs: []oip.TensorMetadata{},
		Properties: properties(l.Served)}
	for _, s := range b.engine.List() {
		if s.Model.Name == name {
			answer.Versions = append(answer.Versions, s.Model.Version)
		}
	}
	for _, in := range m.Inputs {
		described := describe(in.Spec)
		if in.Unbatched {
			described.Shape = append(tensor.Shape{}, in.Shape...)
		}
		answer.Inputs = append(answer.Inputs, described)
	}
	for _, out := range m.Outputs {
		answer.Outputs = append(answer.Outputs, describe(out))
	}
	return answer, nil
}

func (*API) metadata(w http.ResponseWriter, r *http.Request, args arguments) error {
	answer, err := args.describeModel(r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

func describe(s modelpkg.Spec) oip.TensorMetadata {
	return oip.TensorMetadata{Name: s.Name, Datatype: s.DType.String(), Shape: batched(s.Shape)}
}

// batched adds a batch dimension of any size at the front of a shape.
func batched(s tensor.Shape) tensor.Shape {
	return append(tensor.Shape{-1}, s...)
}

// properties are facts about a model for which the protocol has no field; lists are comma
// separated. docs/protocol.md describes them.
func properties(s engine.Served) map[string]string {
	m := s.Model
	p := map[string]string{
		"modalities": strings.Join(m.ModalityNames(), ","),
		"variants":   strings.Join(variantNames(m), ","),
	}
	for _, modality := range m.Modalities {
		p["modality."+modality.Name] = strings.Join(inputNames(m, modality.Inputs), ",")
	}
	for _, in := range m.Inputs { // for clients that make the input from a media file
		if in.Media != modelpkg.MediaNone {
			p["media."+in.Name] = string(in.Media)
			if in.DType != tensor.Bytes {
				p["files."+in.Name] = media.Kinds(in.Media)
			}
			if in.Tokens != nil {
				p["tokenizer."+in.Name] = in.Tokens.Kind()
			}
		}
		if in.SampleRate > 0 {
			p["sample_rate."+in.Name] = strconv.Itoa(in.SampleRate)
		}
		declarations(p, in)
	}
	for _, out := range m.Outputs {
		if out.Max > 0 {
			p["max."+out.Name] = strconv.FormatInt(out.Max, 10)
		}
	}
	for _, v := range m.Variants {
		if v.Recovers != 0 {
			p["recovers."+v.Name] = strings.Join(v.Recovers.Names(m.ModalityNames()), ",")
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

// declarations adds the package's optional declarations of an input.
func declarations(p map[string]string, in modelpkg.Input) {
	if in.Buckets != nil {
		p["buckets."+in.Name] = in.SizesText()
	}
	if in.Max > 0 {
		p["max."+in.Name] = strconv.FormatInt(in.Max, 10)
	}
	if in.Absent.Kind != modelpkg.AbsentNever {
		p["absent."+in.Name] = string(in.Absent.Kind)
	}
	if in.Absent.Kind == modelpkg.AbsentSilence {
		p["silence_below."+in.Name] = strconv.FormatFloat(in.Absent.Below, 'f', -1, 64)
	}
	if in.Range != nil {
		p["range."+in.Name] = strconv.FormatFloat(in.Range.Low, 'f', -1, 64) + "," + strconv.FormatFloat(in.Range.High, 'f', -1, 64)
	}
	if in.Unbatched {
		p["batched."+in.Name] = "false"
	}
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

// configure returns the part of Triton's model configuration that clients read.
func (b *backend) configure(name, version string) (oip.ModelConfig, error) {
	l, err := b.engine.Use(name, version)
	if err != nil {
		return oip.ModelConfig{}, err
	}
	defer l.Release()
	m := l.Model
	answer := oip.ModelConfig{Name: m.Name, Platform: platform, Backend: runs, MaxBatchSize: m.Limits.BatchItemsMax,
		Input: []oip.ModelInput{}, Output: []oip.ModelOutput{}}
	for _, in := range m.Inputs {
		answer.Input = append(answer.Input, oip.ModelInput{Name: in.Name, DataType: configType(in.DType), Format: "FORMAT_NONE",
			Dims: append(tensor.Shape{}, in.Shape...), Optional: !neededByAll(m, in.Modality)})
	}
	for _, out := range m.Outputs {
		answer.Output = append(answer.Output, oip.ModelOutput{Name: out.Name, DataType: configType(out.DType), Dims: append(tensor.Shape{}, out.Shape...)})
	}
	return answer, nil
}

func (*API) config(w http.ResponseWriter, r *http.Request, args arguments) error {
	answer, err := args.configure(r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

// configType returns a datatype's name in Triton's configuration.
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
