package strictyaml_test

import (
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/strictyaml"
	"go.yaml.in/yaml/v3"
)

// form is a small file form with a field of every kind.
type form struct {
	name   strictyaml.Word
	count  strictyaml.Number
	share  float64
	colors []string
	sizes  map[string]float64
	bold   strictyaml.Flag
}

func read(text string) (form, strictyaml.Problems) {
	r := &strictyaml.Report{File: "f.yaml"}
	f := form{sizes: map[string]float64{}}
	if root := r.Document([]byte(text)); root != nil {
		r.Mapping(root, "the form", []strictyaml.Field{
			strictyaml.Required("name", r.Into(&f.name, "name")),
			strictyaml.Optional("count", func(n *yaml.Node) { f.count = r.Whole(n, "count", 1, 9) }),
			strictyaml.Optional("share", func(n *yaml.Node) { f.share = r.Real(n, "share", 0, 1) }),
			strictyaml.Optional("bold", func(n *yaml.Node) { f.bold = r.Bool(n, "bold") }),
			strictyaml.Optional("colors", func(n *yaml.Node) {
				r.List(n, "colors", 2, func(n *yaml.Node) {
					f.colors = append(f.colors, r.OneOf(r.Text(n, "a color"), "color", "red", "green"))
				})
			}),
			strictyaml.Optional("sizes", func(n *yaml.Node) {
				r.Entries(n, "sizes", 2, func(key strictyaml.Word, n *yaml.Node) { f.sizes[key.Text] = r.Real(n, "a size", 0, 10) })
			}),
		})
	}
	return f, r.Sorted()
}

func TestReads(t *testing.T) {
	f, problems := read("name: 1.10\ncount: 3\nshare: 0.5\ncolors: [red]\nsizes: {a: 1, b: 2.5}\nbold: true\n")
	if len(problems) > 0 || !f.bold.Value || f.bold.Line != 6 || f.name.Text != "1.10" || f.count.Value != 3 || f.share != 0.5 || f.colors[0] != "red" || f.sizes["b"] != 2.5 {
		t.Errorf("%+v %v", f, problems)
	}
	if f.count.Line != 2 || f.count.Column != 8 || f.name.Or("x").Text != "1.10" || (strictyaml.Word{}).Or("x").Text != "x" {
		t.Errorf("%+v", f)
	}
}

func TestTellsAllMistakesByLine(t *testing.T) {
	_, problems := read("cuont: 3\ncount: 12\nshare: much\ncolors: [rde, green, red]\nsizes: {a: 1, a: 11}\n")
	want := []string{
		`f.yaml:1:1: the form has no key "cuont"; did you mean "count"?`,
		`f.yaml:1:1: the form has no name`,
		`f.yaml:2:8: count is 12; it must be between 1 and 9`,
		`f.yaml:3:8: share must be a number, not "much"`,
		`f.yaml:4:9: colors has 3 entries; at most 2 are allowed`,
		`f.yaml:5:15: the key "a" occurs twice; the first is on line 5`,
		`f.yaml:5:18: a size is 11; it must be between 0 and 10`,
	}
	if got := problems.Error(); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestForms(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "the file is empty",
		"name: [":                            "not YAML",
		"name: x\n---\nname: y":              "a second document",
		"- a":                                "the form must be a mapping, not a list",
		"name: &a x":                         "anchors and aliases",
		"name: !!str x":                      "the tag !!str is not supported",
		"name:":                              "name is empty; it must be a text",
		"name: x\ncolors: []":                "the list is empty",
		"name: x\nsizes: {}":                 "the mapping is empty",
		"name: x\nsizes: [1]":                "sizes must be a mapping, not a list",
		"name: x\ncolors: [gren]":            `the color "gren" is not supported; did you mean "green"?`,
		"name: x\nbold: maybe":               "bold must be true or false, not \"maybe\"",
		"name: x\nbold:":                     "bold is empty; it must be true or false",
		"name: x\nshare: .nan":               `share must be a number, not ".nan"`,
		"name: x\nname: y":                   "the form has name twice; the first is on line 1",
		"name: x\n? [a]\n: 1":                "a key must be a word, not a list",
		"name: x\nsizes: {a: 1, b: 2, c: 3}": "sizes has 3 entries",
	} {
		if _, problems := read(text); len(problems) == 0 || !strings.Contains(problems.Error(), want) {
			t.Errorf("%q: %v, want %q", text, problems, want)
		}
	}
}
