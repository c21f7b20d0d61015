// Package strictyaml reads YAML files that people write. It refuses unknown keys,
// keeps the position of every value, and reports all errors of a file at once, each
// with line, column and the most similar known word. Model packages, scenarios and the
// tokens file use it.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"
)

// Word is a scalar with its position; the zero Word means that it was not given.
type Word struct {
	Text string
	Place
}

// Or returns the word, or text if the file does not have one.
func (w Word) Or(text string) Word {
	if !w.Given() {
		w.Text = text
	}
	return w
}

// Number is an integer with its position.
type Number struct {
	Value int64
	Place
}

// Field is a key that a mapping may have, and the function that reads its value.
type Field struct {
	key      string
	required bool
	read     func(*yaml.Node)
}

// Required is a key that the mapping must have.
func Required(key string, read func(*yaml.Node)) Field { return Field{key, true, read} }

// Optional is a key that the mapping may have.
func Optional(key string, read func(*yaml.Node)) Field { return Field{key, false, read} }

// textMax bounds a scalar, which is a name or a sentence.
const textMax = 4096

// grammarError is the beginning of those errors in which the library counts lines
// from 0.
const grammarError = "did not find expected"

var errorLine = regexp.MustCompile(`^yaml: line (\d+): `)

// Document parses a file that must be one YAML mapping. Otherwise it records a problem
// and returns nil.
func (r *Report) Document(text []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		r.syntax(err)
		return nil
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		r.At(PlaceOf(&second), "a second document begins here; the file must be one document")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		r.At(Place{1, 1}, "the file is empty")
		return nil
	}
	return doc.Content[0]
}

// syntax records an error of the YAML parser. Its line is only in its text.
func (r *Report) syntax(err error) {
	if errors.Is(err, io.EOF) {
		r.At(Place{1, 1}, "the file is empty")
		return
	}
	text, at := err.Error(), Place{1, 1}
	if m := errorLine.FindStringSubmatch(text); m != nil {
		at.Line, _ = strconv.Atoi(m[1]) // the expression matches only digits
		text = text[len(m[0]):]
		if strings.HasPrefix(text, grammarError) {
			at.Line++
		}
	}
	r.At(at, "not YAML: %s", strings.TrimPrefix(text, "yaml: "))
}

// PlaceOf returns the position of a node.
func PlaceOf(n *yaml.Node) Place { return Place{n.Line, n.Column} }

// kind checks the kind of a node. It refuses aliases and tags: these files do not need
// them, and without them the tree cannot be much larger than the file.
func (r *Report) kind(n *yaml.Node, kind yaml.Kind, what, want string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.At(PlaceOf(n), "%s: anchors and aliases are not supported", what)
	case n.Style&yaml.TaggedStyle != 0:
		r.At(PlaceOf(n), "%s: the tag %s is not supported", what, n.Tag)
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		r.At(PlaceOf(n), "%s is empty; it must be %s", what, want)
	case n.Kind != kind:
		r.At(PlaceOf(n), "%s must be %s, not %s", what, want, kindName(n))
	default:
		return true
	}
	return false
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%q", Clip(n.Value, 40))
}

// Clip shortens text that is quoted in a message.
func Clip(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most]) + "..."
}

// Mapping reads the keys of a mapping. It refuses duplicate and unknown keys.
func (r *Report) Mapping(n *yaml.Node, what string, fields []Field) {
	if !r.kind(n, yaml.MappingNode, what, "a mapping") {
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := slices.IndexFunc(fields, func(f Field) bool { return f.key == key.Value })
		switch {
		case at < 0 || key.Kind != yaml.ScalarNode:
			r.unknownKey(key, what, fields)
		case seen[key.Value] > 0:
			r.At(PlaceOf(key), "%s has %s twice; the first is on line %d", what, key.Value, seen[key.Value])
		default:
			seen[key.Value] = key.Line
			fields[at].read(value)
		}
	}
	for _, f := range fields {
		if f.required && seen[f.key] == 0 {
			r.At(PlaceOf(n), "%s has no %s", what, f.key)
		}
	}
}

func (r *Report) unknownKey(key *yaml.Node, what string, fields []Field) {
	if key.Kind != yaml.ScalarNode {
		r.At(PlaceOf(key), "%s: a key must be a word, not %s", what, kindName(key))
		return
	}
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	r.At(PlaceOf(key), "%s has no key %q%s", what, Clip(key.Value, 40), Suggest(key.Value, keys))
}

// Suggest returns the end of a message about an unknown word: the most similar known
// word, or all known words.
func Suggest(word string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := levenshtein.ComputeDistance(Clip(strings.ToLower(word), 40), strings.ToLower(k)); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; known: " + strings.Join(known, ", ")
}

// List reads the elements of a list, which must have 1 to most of them.
func (r *Report) List(n *yaml.Node, what string, most int, each func(*yaml.Node)) {
	switch {
	case !r.kind(n, yaml.SequenceNode, what, "a list"):
	case len(n.Content) == 0:
		r.At(PlaceOf(n), "%s: the list is empty", what)
	case len(n.Content) > most:
		r.At(PlaceOf(n), "%s has %d entries; at most %d are allowed", what, len(n.Content), most)
	default:
		for _, element := range n.Content {
			each(element)
		}
	}
}

// Text reads a scalar as text, exactly as written: 1.10 stays "1.10".
func (r *Report) Text(n *yaml.Node, what string) Word {
	switch {
	case !r.kind(n, yaml.ScalarNode, what, "a text"):
		return Word{}
	case n.Value == "":
		r.At(PlaceOf(n), "%s is empty", what)
		return Word{}
	case len(n.Value) > textMax:
		r.At(PlaceOf(n), "%s is longer than %d bytes", what, textMax)
		return Word{}
	}
	return Word{n.Value, PlaceOf(n)}
}

// Whole reads an integer between low and high.
func (r *Report) Whole(n *yaml.Node, what string, low, high int64) Number {
	if !r.kind(n, yaml.ScalarNode, what, "a whole number") {
		return Number{}
	}
	v, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil || n.Tag != "!!int" {
		r.At(PlaceOf(n), "%s must be a whole number, not %s", what, kindName(n))
		return Number{}
	}
	if v < low || v > high {
		r.At(PlaceOf(n), "%s is %d; it must be between %d and %d", what, v, low, high)
		return Number{}
	}
	return Number{v, PlaceOf(n)}
}

// Into returns a field reader that stores a text.
func (r *Report) Into(w *Word, what string) func(*yaml.Node) {
	return func(n *yaml.Node) { *w = r.Text(n, what) }
}

// OneOf records a problem if a word is not one of the known words.
func (r *Report) OneOf(w Word, what string, known ...string) string {
	if w.Given() && !slices.Contains(known, w.Text) {
		r.At(w.Place, "the %s %q is not supported%s", what, Clip(w.Text, 40), Suggest(w.Text, known))
	}
	return w.Text
}

// Unique records a problem for every word that occurs twice.
func (r *Report) Unique(words []Word, what string) {
	first := make(map[string]int, len(words))
	for _, w := range words {
		if !w.Given() {
			continue
		}
		if line := first[w.Text]; line > 0 {
			r.At(w.Place, "the %s %q occurs twice; the first is on line %d", what, Clip(w.Text, 80), line)
			continue
		}
		first[w.Text] = w.Line
	}
}

// Real reads a number between low and high.
func (r *Report) Real(n *yaml.Node, what string, low, high float64) float64 {
	if !r.kind(n, yaml.ScalarNode, what, "a number") {
		return 0
	}
	v, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || n.Tag != "!!int" && n.Tag != "!!float" {
		r.At(PlaceOf(n), "%s must be a number, not %s", what, kindName(n))
		return 0
	}
	if !(v >= low && v <= high) {
		r.At(PlaceOf(n), "%s is %v; it must be between %v and %v", what, v, low, high)
		return 0
	}
	return v
}

// Flag is a boolean with its position.
type Flag struct {
	Value bool
	Place
}

// Bool reads true or false.
func (r *Report) Bool(n *yaml.Node, what string) Flag {
	if !r.kind(n, yaml.ScalarNode, what, "true or false") {
		return Flag{}
	}
	if n.Tag != "!!bool" {
		r.At(PlaceOf(n), "%s must be true or false, not %s", what, kindName(n))
		return Flag{}
	}
	return Flag{strings.EqualFold(n.Value, "true"), PlaceOf(n)}
}

// Entries reads a mapping with 1 to most keys of any name. It refuses duplicate keys.
func (r *Report) Entries(n *yaml.Node, what string, most int, each func(key Word, value *yaml.Node)) {
	if !r.kind(n, yaml.MappingNode, what, "a mapping") {
		return
	}
	switch entries := len(n.Content) / 2; {
	case entries == 0:
		r.At(PlaceOf(n), "%s: the mapping is empty", what)
		return
	case entries > most:
		r.At(PlaceOf(n), "%s has %d entries; at most %d are allowed", what, entries, most)
		return
	}
	var keys []Word
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := r.Text(n.Content[i], "a key of "+what)
		if key.Given() {
			keys = append(keys, key)
			each(key, n.Content[i+1])
		}
	}
	r.Unique(keys, "key")
}
