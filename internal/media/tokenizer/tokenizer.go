// Package tokenizer makes ids of texts as a tokenizer.json of Hugging Face says it:
// WordPiece, BPE and Unigram models with the normalizers and the ways to split texts that
// their files name. What a file names and this package does not do is an error when the
// file is read, so that no model gets ids other than those it was trained with.
//
// It is our own because the Go library at hand gives other ids for some texts: of 1,000
// sentences in many scripts, 21 with a GPT-2 tokenizer and 790 with a BERT one.
package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Tokenizer makes ids of texts. It is safe for concurrent use.
type Tokenizer struct {
	kind      string // of the model
	added     addedTokens
	normalize normalizer
	split     splitter
	model     model
	before    []int64 // what the template puts before and after a text
	after     []int64
	pad       int64
}

// A normalizer rewrites a text, a splitter cuts one into words. first says that the text
// is the beginning of what was given.
type (
	normalizer func(text string) string
	splitter   func(words []string, first bool) []string
)

// model makes ids of a word.
type model interface {
	ids(dst []int64, word string) []int64
	id(token string) (int64, bool)
}

// file is a tokenizer.json, as far as it matters to ids.
type file struct {
	Added      []addedToken    `json:"added_tokens"`
	Normalizer json.RawMessage `json:"normalizer"`
	Split      json.RawMessage `json:"pre_tokenizer"`
	Post       json.RawMessage `json:"post_processor"`
	Model      json.RawMessage `json:"model"`
	Padding    *struct {
		ID int64 `json:"pad_id"`
	} `json:"padding"`
}

// Read reads a tokenizer.json.
func Read(text []byte) (*Tokenizer, error) {
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("not a tokenizer.json: %w", err)
	}
	t := new(Tokenizer)
	var errs [4]error
	t.kind, t.model, errs[0] = readModel(f.Model)
	t.normalize, errs[1] = readNormalizer(f.Normalizer)
	t.split, errs[2] = readSplitter(f.Split)
	t.before, t.after, errs[3] = readTemplate(f.Post)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	t.added = newAddedTokens(f.Added, t.normalize)
	t.pad = t.padding(f)
	return t, nil
}

// padNames are what tokenizers call the token that fills texts up.
var padNames = []string{"[PAD]", "<pad>", "<|pad|>", "<|endoftext|>"}

// padding is the id that fills texts up.
func (t *Tokenizer) padding(f file) int64 {
	if f.Padding != nil {
		return f.Padding.ID
	}
	for _, name := range padNames {
		if i := slices.IndexFunc(f.Added, func(a addedToken) bool { return a.Content == name }); i >= 0 {
			return f.Added[i].ID
		}
		if id, known := t.model.id(name); known {
			return id
		}
	}
	return 0
}

// Kind is the model's: WordPiece, BPE or Unigram.
func (t *Tokenizer) Kind() string { return t.kind }

// Pad is the id that fills a text up to a length.
func (t *Tokenizer) Pad() int64 { return t.pad }

// Encode makes ids of a text, with those that the file puts around each text. Of a text
// that has more than most, the end is left out; 0: there is no bound.
func (t *Tokenizer) Encode(text string, most int) []int64 {
	ids := slices.Clone(t.before)
	for i, p := range t.added.cut(text, false) {
		if p.added {
			ids = append(ids, p.id)
			continue
		}
		for k, q := range t.added.cut(t.normalize(p.text), true) {
			if q.added {
				ids = append(ids, q.id)
				continue
			}
			if q.text == "" {
				continue
			}
			for _, word := range t.split([]string{q.text}, i == 0 && k == 0) {
				ids = t.model.ids(ids, word)
			}
		}
	}
	if most > 0 && len(ids)+len(t.after) > most {
		ids = ids[:max(most-len(t.after), 0)]
	}
	ids = append(ids, t.after...)
	if most > 0 && len(ids) > most {
		ids = ids[:most]
	}
	return ids
}

// typed is the head of each part of a file that has a type.
type typed struct {
	Type string `json:"type"`
}

// typeOf is the type of a part of a file; "" of one that is null or left out.
func typeOf(part json.RawMessage) (string, error) {
	if len(part) == 0 || string(part) == "null" {
		return "", nil
	}
	var t typed
	err := json.Unmarshal(part, &t)
	return t.Type, err
}

// readTemplate reads what is put before and after a single text.
func readTemplate(part json.RawMessage) (before, after []int64, err error) {
	kind, err := typeOf(part)
	if err != nil {
		return nil, nil, fmt.Errorf("post_processor: %w", err)
	}
	var p struct {
		Single []struct {
			Special  *struct{ ID string } `json:"SpecialToken"`
			Sequence *struct{ ID string } `json:"Sequence"`
		} `json:"single"`
		Special    map[string]struct{ IDs []int64 } `json:"special_tokens"`
		Sep, Cls   []json.RawMessage
		Processors []json.RawMessage `json:"processors"`
	}
	if kind != "" {
		if err := json.Unmarshal(part, &p); err != nil {
			return nil, nil, fmt.Errorf("post_processor: %w", err)
		}
	}
	switch kind {
	case "", "ByteLevel": // which moves offsets, not ids
		return nil, nil, nil
	case "TemplateProcessing":
		seen := false
		for _, piece := range p.Single {
			switch {
			case piece.Sequence != nil:
				seen = true
			case piece.Special != nil && seen:
				after = append(after, p.Special[piece.Special.ID].IDs...)
			case piece.Special != nil:
				before = append(before, p.Special[piece.Special.ID].IDs...)
			}
		}
		return before, after, nil
	case "BertProcessing", "RobertaProcessing":
		var cls, sep int64
		if len(p.Cls) != 2 || len(p.Sep) != 2 || json.Unmarshal(p.Cls[1], &cls) != nil || json.Unmarshal(p.Sep[1], &sep) != nil {
			return nil, nil, fmt.Errorf("post_processor %s: cls and sep must be a token and its id", kind)
		}
		return []int64{cls}, []int64{sep}, nil
	case "Sequence":
		for _, part := range p.Processors {
			b, a, err := readTemplate(part)
			if err != nil {
				return nil, nil, err
			}
			before, after = append(b, before...), append(after, a...)
		}
		return before, after, nil
	}
	return nil, nil, fmt.Errorf("post_processor %q is not known", kind)
}
