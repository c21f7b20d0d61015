package mosel_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// markdownLink is a link or an image: [text](target).
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// fenced is a block of code in a document, where brackets mean other things.
	fenced = regexp.MustCompile("(?ms)^```.*?^```")
	// mentioned is how code and messages name a document.
	mentioned = regexp.MustCompile(`\bdocs/[a-z0-9_/-]+\.(?:md|json)`)
)

// TestDocumentsExist checks that no document, comment or message sends its
// reader to a file that is not there.
func TestDocumentsExist(t *testing.T) {
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return skipOutside(name)
		}
		name = filepath.ToSlash(name)
		var targets []string
		switch path.Ext(name) {
		case ".md":
			targets, err = targetsIn(name, markdownLink)
		case ".go", ".yaml":
			targets, err = targetsIn(name, mentioned)
		}
		for _, target := range targets {
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s names %s, which is not there", name, target)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// targetsIn lists the files of the repository that a file names.
func targetsIn(name string, form *regexp.Regexp) ([]string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if form == markdownLink {
		text = fenced.ReplaceAll(text, nil)
	}
	var targets []string
	for _, match := range form.FindAllStringSubmatch(string(text), -1) {
		target, _, _ := strings.Cut(match[len(match)-1], "#")
		switch {
		case target == "" || strings.Contains(target, "://"):
			continue
		case form == markdownLink:
			target = path.Join(path.Dir(name), target)
		}
		targets = append(targets, target)
	}
	return targets, nil
}
