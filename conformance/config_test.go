package conformance_test

import (
	"net/url"
	"reflect"
	"slices"
	"testing"
)

// modelConfig is the part of Triton's model configuration that perf_analyzer and
// tritonclient read.
type modelConfig struct {
	Name         string         `json:"name"`
	Platform     string         `json:"platform"`
	Backend      string         `json:"backend"`
	MaxBatchSize int64          `json:"max_batch_size"`
	Input        []configTensor `json:"input"`
	Output       []configTensor `json:"output"`
}

type configTensor struct {
	Name     string  `json:"name"`
	DataType string  `json:"data_type"`
	Dims     []int64 `json:"dims"`
	Optional bool    `json:"optional"`
}

// configType is a datatype's name in Triton's configuration.
func configType(datatype string) string {
	if datatype == "BYTES" {
		return "TYPE_STRING"
	}
	return "TYPE_" + datatype
}

// checkConfig compares a configuration with the metadata.
func (m *model) checkConfig(t *testing.T, config modelConfig) {
	t.Helper()
	if config.Name != m.Name {
		t.Errorf("name is %q, want %q", config.Name, m.Name)
	}
	if config.Platform == "" && config.Backend == "" {
		t.Error("there is neither platform nor backend")
	}
	if config.MaxBatchSize < 0 {
		t.Errorf("max_batch_size is %d", config.MaxBatchSize)
	}
	for what, pair := range map[string]struct {
		specs  []tensorSpec
		config []configTensor
	}{"input": {m.Inputs, config.Input}, "output": {m.Outputs, config.Output}} {
		if len(pair.specs) != len(pair.config) {
			t.Errorf("%s has %d entries, the metadata has %d", what, len(pair.config), len(pair.specs))
		}
		for _, spec := range pair.specs {
			at := slices.IndexFunc(pair.config, func(c configTensor) bool { return c.Name == spec.Name })
			if at < 0 {
				t.Errorf("%s %s is missing", what, spec.Name)
				continue
			}
			if got := pair.config[at].DataType; got != configType(spec.Datatype) {
				t.Errorf("%s %s has data_type %q, want %q", what, spec.Name, got, configType(spec.Datatype))
			}
			shape := spec.Shape
			if config.MaxBatchSize > 0 && len(shape) > 0 {
				shape = shape[1:] // dims have no batch dimension
			}
			if got := pair.config[at].Dims; len(got)+len(shape) > 0 && !slices.Equal(got, shape) {
				t.Errorf("%s %s has dims %v, with max_batch_size %d and the shape %v of the metadata want %v", what, spec.Name, got, config.MaxBatchSize, spec.Shape, shape)
			}
		}
	}
}

func TestConfigAgreesWithTheMetadata(t *testing.T) {
	subject.needs(t, "model_configuration")
	eachModel(t, func(t *testing.T, m *model) {
		var config modelConfig
		m.server.get(t, m.path("/config")).into(t, &config)
		m.checkConfig(t, config)
		if m.version() == "" {
			return
		}
		var same modelConfig
		m.server.get(t, m.path("/versions/"+url.PathEscape(m.version())+"/config")).into(t, &same)
		if !reflect.DeepEqual(config, same) {
			t.Errorf("version %s has the configuration %+v, the model %+v", m.version(), same, config)
		}
	})
}

func TestConfigSaysWhichInputsMayBeLeftOut(t *testing.T) {
	subject.needs(t, "model_configuration")
	eachModel(t, func(t *testing.T, m *model) {
		for _, in := range m.config.Input {
			t.Run(in.Name, func(t *testing.T) {
				if len(m.Inputs) == 1 {
					t.Skipf("model %s has no other input", m.Name)
				}
				a := m.askOnly(func(name string) bool { return name != in.Name })
				if !in.Optional {
					m.infer(t, a).refused(t, 400)
					return
				}
				if m.mosel() {
					t.Skip("which inputs go together is said by the properties: see TestModalities")
				}
				m.result(t, m.infer(t, a))
			})
		}
	})
}
