package modelpkg

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

// word is a scalar of the file and where it stands; the zero word was not given.
type word struct {
	text string
	place
}

// number is a whole number of the file and where it stands.
type number struct {
	value int64
	place
}

// given reports whether the file has the key at all.
func (p place) given() bool { return p.line > 0 }

// field is one key that a mapping may have, and who reads its value.
type field struct {
	key      string
	required bool
	read     func(*yaml.Node)
}

// textMax bounds one scalar: a name or a sentence, never data.
const textMax = 4096

// grammarError begins the errors for which the library counts lines from 0.
const grammarError = "did not find expected"

var errorLine = regexp.MustCompile(`^yaml: line (\d+): `)

// document parses a file that must be one YAML mapping. It returns nil, and
// notes why, where it is not.
func (r *report) document(text []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		r.syntax(err)
		return nil
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		r.at(placeOf(&second), "a second document begins here; the file must be one document")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		r.at(place{1, 1}, "the file is empty")
		return nil
	}
	return doc.Content[0]
}

// syntax notes an error of the YAML parser, whose line is only in its text.
func (r *report) syntax(err error) {
	if errors.Is(err, io.EOF) {
		r.at(place{1, 1}, "the file is empty")
		return
	}
	text, at := err.Error(), place{1, 1}
	if m := errorLine.FindStringSubmatch(text); m != nil {
		at.line, _ = strconv.Atoi(m[1]) // the expression found digits
		text = text[len(m[0]):]
		if strings.HasPrefix(text, grammarError) {
			at.line++
		}
	}
	r.at(at, "not YAML: %s", strings.TrimPrefix(text, "yaml: "))
}

func placeOf(n *yaml.Node) place { return place{n.Line, n.Column} }

// kind checks what a node is, and refuses aliases and tags: a package has no
// use for them, and without them the tree is no larger than the file.
func (r *report) kind(n *yaml.Node, kind yaml.Kind, what, want string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.at(placeOf(n), "%s: anchors and aliases are not supported", what)
	case n.Style&yaml.TaggedStyle != 0:
		r.at(placeOf(n), "%s: the tag %s is not supported", what, n.Tag)
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		r.at(placeOf(n), "%s is empty; it must be %s", what, want)
	case n.Kind != kind:
		r.at(placeOf(n), "%s must be %s, not %s", what, want, kindName(n))
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
	return fmt.Sprintf("%q", clip(n.Value, 40))
}

// clip shortens text that is quoted in a message.
func clip(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most]) + "..."
}

// mapping reads the keys of a mapping, each at most once and none unknown.
func (r *report) mapping(n *yaml.Node, what string, fields []field) {
	if !r.kind(n, yaml.MappingNode, what, "a mapping") {
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value })
		switch {
		case at < 0 || key.Kind != yaml.ScalarNode:
			r.unknownKey(key, what, fields)
		case seen[key.Value] > 0:
			r.at(placeOf(key), "%s has %s twice; the first is on line %d", what, key.Value, seen[key.Value])
		default:
			seen[key.Value] = key.Line
			fields[at].read(value)
		}
	}
	for _, f := range fields {
		if f.required && seen[f.key] == 0 {
			r.at(placeOf(n), "%s has no %s", what, f.key)
		}
	}
}

func (r *report) unknownKey(key *yaml.Node, what string, fields []field) {
	if key.Kind != yaml.ScalarNode {
		r.at(placeOf(key), "%s: a key must be a word, not %s", what, kindName(key))
		return
	}
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	r.at(placeOf(key), "%s has no key %q%s", what, clip(key.Value, 40), suggest(key.Value, keys))
}

// suggest ends a message about an unknown word: the known word that was most
// likely meant, else all of them.
func suggest(word string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := levenshtein.ComputeDistance(clip(strings.ToLower(word), 40), strings.ToLower(k)); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; known: " + strings.Join(known, ", ")
}

// list reads every element of a list of 1 to most elements.
func (r *report) list(n *yaml.Node, what string, most int, each func(*yaml.Node)) {
	switch {
	case !r.kind(n, yaml.SequenceNode, what, "a list"):
	case len(n.Content) == 0:
		r.at(placeOf(n), "%s: the list is empty", what)
	case len(n.Content) > most:
		r.at(placeOf(n), "%s has %d entries; at most %d are allowed", what, len(n.Content), most)
	default:
		for _, element := range n.Content {
			each(element)
		}
	}
}

// text reads a scalar as it is written: 1.10 stays "1.10".
func (r *report) text(n *yaml.Node, what string) word {
	switch {
	case !r.kind(n, yaml.ScalarNode, what, "a text"):
		return word{}
	case n.Value == "":
		r.at(placeOf(n), "%s is empty", what)
		return word{}
	case len(n.Value) > textMax:
		r.at(placeOf(n), "%s is longer than %d bytes", what, textMax)
		return word{}
	}
	return word{n.Value, placeOf(n)}
}

// whole reads a whole number between low and high.
func (r *report) whole(n *yaml.Node, what string, low, high int64) number {
	if !r.kind(n, yaml.ScalarNode, what, "a whole number") {
		return number{}
	}
	v, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil || n.Tag != "!!int" {
		r.at(placeOf(n), "%s must be a whole number, not %s", what, kindName(n))
		return number{}
	}
	if v < low || v > high {
		r.at(placeOf(n), "%s is %d; it must be between %d and %d", what, v, low, high)
		return number{}
	}
	return number{v, placeOf(n)}
}
