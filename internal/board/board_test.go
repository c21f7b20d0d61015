package board_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mosel-serve/mosel/internal/board"
	"github.com/mosel-serve/mosel/status"
)

var rewrite = flag.Bool("rewrite", false, "write the pages in testdata anew, to be read in review")

// read reads what a server answered.
func read[T any](t *testing.T, name string) (v T) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// golden compares a page with the one that is kept.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not as in %s:\n%s", file, got)
	}
}

// fits checks that no line is wider than the paper and that a terminal obeys
// nothing in it.
func fits(t *testing.T, page string, width int) {
	t.Helper()
	if !strings.HasSuffix(page, "\n") || strings.Contains(page, "\x1b") {
		t.Errorf("it does not end with its line, or has escapes: %q", page)
	}
	for line := range strings.Lines(page) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
			t.Errorf("%d characters on paper of %d: %s", n, width, line)
		}
	}
}

func TestStatus(t *testing.T) {
	s := read[status.Status](t, "busy.json")
	page := board.Paper{Width: 100}.Status(s)
	golden(t, "busy.txt", page)
	for _, width := range []int{board.WidthMin, 72, 100, 200} {
		fits(t, board.Paper{Width: width}.Status(s), width)
	}
	fits(t, board.Paper{Width: 1}.Status(s), board.WidthMin)
}

// TestHeight checks that a page has no more lines than the terminal, and says so.
func TestHeight(t *testing.T) {
	s := read[status.Status](t, "busy.json")
	for _, height := range []int{2, 10, 40} {
		page := board.Paper{Width: 100, Height: height}.Status(s)
		if n := strings.Count(page, "\n"); n > height {
			t.Errorf("%d lines of %d", n, height)
		}
		if cut := strings.Contains(page, "more\n"); cut != (height < 25) {
			t.Errorf("height %d says that there is more: %v", height, cut)
		}
	}
}

// TestColour checks that colour changes nothing else.
func TestColour(t *testing.T) {
	escapes := regexp.MustCompile("\x1b\\[[0-9]+m")
	s, x := read[status.Status](t, "busy.json"), read[status.Explanation](t, "upgraded.json")
	bare, coloured := board.Paper{Width: 90}, board.Paper{Width: 90, Colour: true}
	for _, pages := range [][2]string{{bare.Status(s), coloured.Status(s)}, {bare.Explanation(x), coloured.Explanation(x)}} {
		if got := escapes.ReplaceAllString(pages[1], ""); got != pages[0] || got == pages[1] {
			t.Errorf("with colour it is\n%s\nwithout\n%s", pages[1], pages[0])
		}
	}
}

func TestExplanation(t *testing.T) {
	for _, name := range []string{"text_alone", "upgraded"} {
		x := read[status.Explanation](t, name+".json")
		golden(t, name+".txt", board.Paper{Width: 100}.Explanation(x))
		for _, width := range []int{board.WidthMin, 80, 200} {
			fits(t, board.Paper{Width: width}.Explanation(x), width)
		}
	}
}

// TestEnds has the requests that did not end well, or not yet.
func TestEnds(t *testing.T) {
	x := read[status.Explanation](t, "upgraded.json")
	x.Request, x.Choice = "order \x1b[31m7", []string{"image"}
	late, running, shed, refused := x, x, x, x
	late.Outcome, late.Late, late.EndedMS, late.SlackMS = "late", "run", new(120.0), new(-26.0)
	running.Outcome, running.Summary, running.EndedMS, running.SlackMS, running.Accuracy = "running", "some of it has run or is running", nil, nil, nil
	for range 10 {
		running.Batches = append(running.Batches, x.Batches[0])
	}
	running.BatchesLeftOut = 90
	shed.Outcome, shed.Summary, shed.Accuracy, shed.Batches, shed.StartedMS = "shed", "refused: the queue was full", nil, nil, nil
	shed.EndedMS, shed.RetryAfterMS, shed.SlackMS = new(0.0), new(1500.0), nil
	refused.Outcome, refused.Summary, refused.Accuracy, refused.Batches, refused.DeadlineMS = "infeasible", "refused: nothing reaches the floor", nil, nil, nil
	refused.Best, refused.StartedMS, refused.SlackMS = new(0.9365), nil, nil
	var pages strings.Builder
	for _, x := range []status.Explanation{late, running, shed, refused} {
		page := board.Paper{Width: 90}.Explanation(x)
		fits(t, page, 90)
		pages.WriteString(page + "\n")
	}
	golden(t, "ends.txt", pages.String())
}

// TestEmpty prints what a server that does nothing, or an older one, says.
func TestEmpty(t *testing.T) {
	golden(t, "empty.txt", board.Paper{Width: 80}.Status(status.Status{Server: status.Server{Name: "mosel"}})+board.Paper{Width: 80}.Explanation(status.Explanation{}))
}
