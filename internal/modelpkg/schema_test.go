package modelpkg

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const schemaFile = "../../docs/mosel.schema.json"

// seenBySchema are the cases of TestYAMLProblems that the schema refuses too. It cannot
// detect the others: duplicate keys, references, what inputs need of each other, problems of the files themselves.
var seenBySchema = []string{
	"unknown key", "unknown key, far", "unknown key inside", "missing key", "format", "name", "null", "text for list", "list for text",
	"number", "number in quotes", "range", "memory", "datatype", "dimension", "media",
	"sample rate missing", "sample rate elsewhere", "variant names no modality", "variant without modalities", "path twice", "absolute",
	"backslash", "label twice", "no modalities",
}

func loadSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestSchema checks that the schema accepts what the loader accepts, and refuses the
// mistakes of form that the loader refuses.
func TestSchema(t *testing.T) {
	schema := loadSchema(t)
	validate := func(text string) error {
		var document any
		if err := yaml.Unmarshal([]byte(text), &document); err != nil {
			return err
		}
		return schema.Validate(document)
	}
	digits, err := os.ReadFile("../../models/digits/mosel.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"the tests' package": goodYAML, "a package with buckets": sizedYAML, "models/digits": string(digits)} {
		if err := validate(text); err != nil {
			t.Errorf("the schema refuses %s: %v", name, err)
		}
	}
	known := map[string]bool{}
	for _, c := range yamlProblems {
		known[c.name] = true
		err := validate(strings.Replace(goodYAML, c.old, c.new, 1))
		if slices.Contains(seenBySchema, c.name) && err == nil {
			t.Errorf("the schema takes %q", c.name)
		}
	}
	for _, name := range seenBySchema {
		if !known[name] {
			t.Errorf("there is no case %q", name)
		}
	}
}

// TestSchemaOfDeclarations checks the schema of an input's declarations.
func TestSchemaOfDeclarations(t *testing.T) {
	schema := loadSchema(t)
	const image = "shape: [2, 2], media: image}"
	for text, sound := range map[string]bool{
		"shape: [-1, 2], max: 4}":                              true,
		"shape: [2, 2], max: 4}":                               false,
		"shape: [-1, 2], max: 0}":                              false,
		"shape: [2, 2], absent: zeros}":                        true,
		"shape: [2, 2], absent: nothing}":                      false,
		"shape: [2, 2], absent: silence, silence_below: 0.01}": true,
		"shape: [2, 2], absent: silence, silence_below: 0}":    false,
		"shape: [2, 2], absent: zeros, silence_below: 0.01}":   false,
		"shape: [2, 2], silence_below: 0.01}":                  false,
		"shape: [2, 2], range: [0, 29999]}":                    true,
		"shape: [2, 2], range: [0]}":                           false,
		"shape: [2, 2], range: [0, 1, 2]}":                     false,
		"shape: [2, 2], batched: false}":                       true,
		"shape: [2, 2], batched: maybe}":                       false,
		"shape: [2, 2], max_bytes: 9}":                         false,
	} {
		var document any
		if err := yaml.Unmarshal([]byte(strings.Replace(goodYAML, image, text, 1)), &document); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); (err == nil) != sound {
			t.Errorf("%s: %v", text, err)
		}
	}
	for name, sound := range map[string]bool{"a b": true, "/head/größe:0": true, "tab\there": false} {
		var document any
		if err := yaml.Unmarshal([]byte(strings.Replace(goodYAML, "{name: scores,", `{name: "`+name+`",`, 1)), &document); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); (err == nil) != sound {
			t.Errorf("the name %q: %v", name, err)
		}
	}
}

// TestSchemaHasTheKeys compares the keys at every level, and which are required, with
// those that the loader knows.
func TestSchemaHasTheKeys(t *testing.T) {
	schema := loadSchema(t)
	properties := schema.Properties
	resolve := func(s *jsonschema.Schema) *jsonschema.Schema {
		for s.Ref != nil {
			s = s.Ref
		}
		return s
	}
	items := func(s *jsonschema.Schema) *jsonschema.Schema { return resolve(s.Items2020) }
	modality := items(properties["modalities"])
	for what, c := range map[string]struct {
		schema *jsonschema.Schema
		empty  string // a package whose only mistake is an empty mapping there
	}{
		"the package": {schema, "{zoo: 1}"},
		"a modality":  {modality, "{modalities: [{zoo: 1}]}"},
		"an input":    {items(modality.Properties["inputs"]), "{modalities: [{inputs: [{zoo: 1}]}]}"},
		"an output":   {items(properties["outputs"]), "{outputs: [{zoo: 1}]}"},
		"a variant":   {items(properties["variants"]), "{variants: [{zoo: 1}]}"},
		"limits":      {properties["limits"], "{limits: {zoo: 1}}"},
		"evaluation":  {properties["evaluation"], "{evaluation: {zoo: 1}}"},
	} {
		dir := t.TempDir()
		write(t, dir, FileName, []byte(c.empty))
		var keys, required []string
		for _, p := range Check(dir) {
			if list, ok := strings.CutPrefix(p.Message, what+` has no key "zoo"; known: `); ok {
				keys = strings.Split(list, ", ")
			} else if key, ok := strings.CutPrefix(p.Message, what+" has no "); ok {
				required = append(required, key)
			}
		}
		var inSchema []string
		for key := range c.schema.Properties {
			inSchema = append(inSchema, key)
		}
		for _, list := range [][]string{keys, required, inSchema, c.schema.Required} {
			slices.Sort(list)
		}
		if !slices.Equal(keys, inSchema) || !slices.Equal(required, c.schema.Required) {
			t.Errorf("%s: the loader knows %v and requires %v, the schema %v and %v", what, keys, required, inSchema, c.schema.Required)
		}
	}
}

// TestDocumentedPackage checks that the example in the documentation is valid, as far
// as its own text goes, and that all its keys are explained.
func TestDocumentedPackage(t *testing.T) {
	text, err := os.ReadFile("../../docs/model-package.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/model-package.md has no example")
	}
	r := newReport("example")
	s := r.readSpec([]byte(example))
	if r.build(&s); len(r.Problems) > 0 {
		t.Error(r.Sorted())
	}
	var document any
	if err := yaml.Unmarshal([]byte(example), &document); err != nil {
		t.Fatal(err)
	}
	if err := loadSchema(t).Validate(document); err != nil {
		t.Error(err)
	}
	var explain func(prefix string, s *jsonschema.Schema)
	explain = func(prefix string, s *jsonschema.Schema) {
		for key, value := range s.Properties {
			if !strings.Contains(string(text), fmt.Sprintf("`%s`", key)) {
				t.Errorf("docs/model-package.md does not explain %s%s", prefix, key)
			}
			explain(prefix+key+".", value)
		}
	}
	explain("", loadSchema(t))
}

// TestShippedModel checks the example that mosel comes with.
func TestShippedModel(t *testing.T) {
	dir := filepath.FromSlash("../../models/digits")
	f := CheckIn("", dir)
	for _, p := range f.Problems {
		t.Error(p)
	}
	for _, w := range f.Warnings {
		t.Error(w)
	}
}

// TestShippedModelDeclaresAbsence checks that no genuine sample of the example counts
// as absent, with a margin, and that an empty signal does.
func TestShippedModelDeclaresAbsence(t *testing.T) {
	m, err := Load(filepath.FromSlash("../../models/digits"))
	if err != nil {
		t.Fatal(err)
	}
	stricter := slices.Clone(m.Inputs)
	for i, in := range stricter {
		if in.Absent.Kind == AbsentNever {
			t.Errorf("%s declares nothing", in.Name)
		}
		stricter[i].Absent.Below *= 5
		if !in.IsAbsent(make([]byte, 2*8000)) {
			t.Errorf("zeros of %s count as present", in.Name)
		}
	}
	for _, name := range []string{m.Evaluation.Profile, m.Evaluation.HeldOut} {
		set, err := OpenSet(m.File(name), m)
		if err != nil {
			t.Fatal(err)
		}
		for i := range set.Len() {
			for k, in := range stricter {
				if in.IsAbsent(set.Item(i)[k]) {
					t.Errorf("%s: sample %d of %s counts as absent", name, i, in.Name)
				}
			}
		}
	}
}

// TestSchemaOfRemoteStages checks the schema of stages that run on other servers.
func TestSchemaOfRemoteStages(t *testing.T) {
	schema := loadSchema(t)
	const features = "outputs: [{name: f, datatype: FP32, shape: [16]}]"
	for text, sound := range map[string]bool{
		"path: a.onnx": true,
		"remote: grpc://gpu/m, inputs: [x], " + features:            true,
		"remote: grpcs://gpu/m, slots: 9, inputs: [x], " + features: true,
		"name: x":                           false,
		"remote: grpc://gpu/m, inputs: [x]": false,
		"path: a.onnx, inputs: [x]":         false,
		"path: a.onnx, slots: 3":            false,
		"path: a.onnx, remote: grpc://gpu/m, inputs: [x], " + features:                                       false,
		"remote: gpu/m, inputs: [x], " + features:                                                            false,
		"remote: grpc://gpu/m, inputs: [x, x], " + features:                                                  false,
		"remote: grpc://gpu/m, inputs: [x], outputs: [{name: f, datatype: FP32}]":                            false,
		"remote: grpc://gpu/m, inputs: [x], outputs: [{name: f, datatype: FP32, shape: [16], follows: ids}]": false,
	} {
		document := map[string]any{}
		if err := yaml.Unmarshal([]byte(goodYAML), &document); err != nil {
			t.Fatal(err)
		}
		stage := map[string]any{"name": "encoder"}
		if err := yaml.Unmarshal([]byte("{"+text+"}"), &stage); err != nil {
			t.Fatal(err)
		}
		document["stages"] = []any{stage}
		if err := schema.Validate(document); (err == nil) != sound {
			t.Errorf("%s: %v", text, err)
		}
	}
}
