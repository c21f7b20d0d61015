package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// golden is a text with the ids that the Python package tokenizers gives.
type golden struct {
	Text string  `json:"text"`
	IDs  []int64 `json:"ids"`
	Cut  []int64 `json:"cut"` // to 8
}

// TestIDsAreThoseOfPython compares ids with those of Hugging Face's own tokenizers, for the
// sentences in testdata and, where MOSEL_TOKENIZERS names a directory that `make
// tokenizers` has filled, for 1,000 in it.
func TestIDsAreThoseOfPython(t *testing.T) {
	for _, dir := range []string{"testdata", os.Getenv("MOSEL_TOKENIZERS")} {
		if dir == "" {
			continue
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.ids.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", dir, err)
		}
		for _, file := range files {
			t.Run(file, func(t *testing.T) {
				compare(t, strings.TrimSuffix(file, ".ids.json")+".json", file)
			})
		}
	}
}

// shownMost bounds the differences that are told.
const shownMost = 5

func compare(t *testing.T, tokenizerFile, goldenFile string) {
	t.Helper()
	text, err := os.ReadFile(tokenizerFile)
	if err != nil {
		t.Fatal(err)
	}
	k, err := Read(text)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile(goldenFile); err != nil {
		t.Fatal(err)
	}
	var cases []golden
	if err := json.Unmarshal(text, &cases); err != nil || len(cases) < 100 {
		t.Fatalf("%d sentences, %v", len(cases), err)
	}
	wrong := 0
	for _, c := range cases {
		got, cut := k.Encode(c.Text, 0), k.Encode(c.Text, 8)
		if slices.Equal(got, c.IDs) && slices.Equal(cut, c.Cut) {
			continue
		}
		if wrong++; wrong <= shownMost {
			t.Errorf("%q:\n got %v\nwant %v\ncut to %v, want %v", c.Text, got, c.IDs, cut, c.Cut)
		}
	}
	t.Logf("%s: %d of %d sentences have the same ids", k.Kind(), len(cases)-wrong, len(cases))
	if wrong > 0 {
		t.Errorf("%d of %d sentences have other ids", wrong, len(cases))
	}
}

// TestFilesThatAreRefused has files that name what is not done here, or nothing at all.
func TestFilesThatAreRefused(t *testing.T) {
	const words = `"model":{"type":"WordPiece","unk_token":"u","vocab":{"u":0}}`
	for text, want := range map[string]string{
		`[]`:                             "not a tokenizer.json",
		`{}`:                             `model "" is not known; known: WordPiece, BPE, Unigram`,
		`{"model":{"type":"WordLevel"}}`: `model "WordLevel" is not known`,
		`{"model":{"type":"WordPiece","unk_token":"[UNK]","vocab":{"a":0}}}`:                              `lacks the token "[UNK]"`,
		`{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}}`:                                 `merge 0 of "a" and "b" is not in the vocabulary`,
		`{"model":{"type":"BPE","vocab":{"a":0},"merges":["a"]}}`:                                         `merge 0: it must be a pair`,
		`{"model":{"type":"BPE","vocab":{},"merges":[],"end_of_word_suffix":"</w>"}}`:                     "not supported",
		`{"model":{"type":"Unigram","vocab":[["a",0]],"unk_id":null}}`:                                    "unk_id names no token",
		`{"model":{"type":"Unigram","vocab":[["a","x"]],"unk_id":0}}`:                                     "token 0",
		`{"normalizer":{"type":"Precompiled","precompiled_charsmap":"AA=="},` + words + `}`:               `the table is too short`,
		`{"normalizer":{"type":"Precompiled","precompiled_charsmap":"CAAAAAAAAAA="},` + words + `}`:       `the table is shorter than it says`,
		`{"normalizer":{"type":"Sequence","normalizers":[{"type":"Odd"}]},` + words + `}`:                 `normalizer "Odd" is not known`,
		`{"normalizer":{"type":"Replace","pattern":{"Regex":"(?!a)"},"content":""},` + words + `}`:        `the pattern "(?!a)" is not supported`,
		`{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"a+"},"behavior":"Isolated"},` + words + `}`: `the pattern "a+" is not one of those that are known`,
		`{"pre_tokenizer":{"type":"Split","pattern":{"String":"a"},"behavior":"Removed"},` + words + `}`:  `behavior "Removed" is not supported`,
		`{"pre_tokenizer":{"type":"UnicodeScripts"},` + words + `}`:                                       `pre_tokenizer "UnicodeScripts" with these settings is not known`,
		`{"post_processor":{"type":"Odd"},` + words + `}`:                                                 `post_processor "Odd" is not known`,
		`{"post_processor":{"type":"BertProcessing","sep":["a"],"cls":["b",1]},` + words + `}`:            `cls and sep must be a token and its id`,
	} {
		if _, err := Read([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestPadding(t *testing.T) {
	for text, want := range map[string]int64{
		`{"model":{"type":"WordPiece","unk_token":"u","vocab":{"u":0,"[PAD]":7}}}`:                                   7,
		`{"model":{"type":"WordPiece","unk_token":"u","vocab":{"u":3}}}`:                                             0,
		`{"padding":{"pad_id":5},"model":{"type":"WordPiece","unk_token":"u","vocab":{"u":0,"[PAD]":7}}}`:            5,
		`{"added_tokens":[{"id":9,"content":"<pad>"}],"model":{"type":"WordPiece","unk_token":"u","vocab":{"u":0}}}`: 9,
	} {
		k, err := Read([]byte(text))
		if err != nil || k.Pad() != want {
			t.Errorf("%s: pad %v, %v; want %d", text, k, err, want)
		}
	}
}

// FuzzEncode looks for texts on which a tokenizer fails or breaks its bound.
func FuzzEncode(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.ids.json"))
	if err != nil {
		f.Fatal(err)
	}
	var all []*Tokenizer
	for _, file := range files {
		text, err := os.ReadFile(strings.TrimSuffix(file, ".ids.json") + ".json")
		if err != nil {
			f.Fatal(err)
		}
		k, err := Read(text)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, k)
	}
	f.Add("The Fox <left> \xff\xfe [MASK] 世界\r\n  x", 4)
	f.Fuzz(func(t *testing.T, text string, most int) {
		for _, k := range all {
			whole, cut := k.Encode(text, 0), k.Encode(text, most)
			if most > 0 && len(cut) > most || len(cut) > len(whole) {
				t.Errorf("%s: %d ids, at most %d were asked for, of %d", k.Kind(), len(cut), most, len(whole))
			}
		}
	})
}
