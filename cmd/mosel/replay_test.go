package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/replay"
)

func TestReplayMistakes(t *testing.T) {
	trace := file(t, "t.csv", []byte("second,requests\n0,5\n1,x\n"))
	cases := []struct {
		args []string
		say  string
	}{
		{[]string{"--rate", "0"}, "rate"},
		{[]string{"--process", "bursty"}, "poisson, constant, paper"},
		{[]string{"--job-size", "many"}, "neither a number nor paper"},
		{[]string{"--job-size", "0"}, "job size"},
		{[]string{"--process", "paper", "--job-size", "4"}, "paper's job sizes"},
		{[]string{"--min-accuracy", "97"}, "--min-accuracy: 97: an accuracy is between 0 and 1; did you mean 0.97?"},
		{[]string{"--min-accuracy", "uniform:0.9:98"}, "did you mean 0.98?"},
		{[]string{"--deadline", "100"}, "--deadline"},
		{[]string{"--late", "never"}, "--late"},
		{[]string{"--concurrency", "0"}, "--concurrency"},
		{[]string{"--duration", "1s", "--warmup", "2s"}, "--warmup"},
		{[]string{"--trace", "nope.csv"}, "no such file"},
		{[]string{"--trace", trace}, "line 3"},
		{[]string{"--shift", "blur:image"}, "the shifts are invert:INPUT, gain:INPUT:FACTOR"},
		{[]string{"--shift", "invert:text"}, "invert is for image, audio"},
		{[]string{"--shift", "invert:picture"}, "its inputs are image, audio, text"},
		{[]string{"--shift", "empty:text:30"}, "such as 0.3 or 30%"},
		{[]string{"--shift", "labels:ten:0.9"}, "the classes are zero, one, two"},
		{[]string{"--shift", "invert:image", "--at", "30s"}, "the load ends after 30s"},
		{[]string{"--shift", "invert:image", "--at", "9s", "--until", "5s"}, "ends at 5s, but begins at 9s"},
		{[]string{"--at", "5s"}, "--at and --until are for --shift"},
		{[]string{"--window", "-1s"}, "--window"},
		{[]string{"--plot", "x.gif"}, ".svg or .png"},
	}
	for _, c := range cases {
		_, err := command(t, append([]string{"replay", "digits"}, c.args...)...)
		if !errors.As(err, new(usageError)) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%q: %v, want %q", c.args, err, c.say)
		}
	}
	t.Chdir(t.TempDir())
	for _, name := range []string{"one", "two"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(modelsDir, name), 0o700), os.WriteFile(filepath.Join(modelsDir, name, "mosel.yaml"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := command(t, "replay"); err == nil || !strings.Contains(err.Error(), "name a model: there are 2 packages") {
		t.Errorf("no model: %v", err)
	}
	if _, err := command(t, "replay", "nope"); err == nil || !strings.Contains(err.Error(), "nope") {
		t.Errorf("no such package: %v", err)
	}
	if _, err := command(t, "demo", "nope", "--deadline", "1us"); !errors.As(err, new(usageError)) {
		t.Errorf("demo without time: %v", err)
	}
}

func TestReplayWorkload(t *testing.T) {
	f := replayFlags{rate: 10, process: "paper", jobSize: "1", duration: 5 * time.Second, minAccuracy: "uniform:0.9:0.98", deadline: "50ms",
		late: "run", concurrency: 1, seed: 3}
	w, err := f.workload(false)
	if err != nil {
		t.Fatal(err)
	}
	if w.JobSize != replay.PaperSize || w.Floors != (replay.Spread{Low: 0.9, High: 0.98}) || w.Deadlines != replay.Fixed(0.05) || w.Seed != 3 {
		t.Errorf("%+v", w)
	}
	f.trace, f.scale = file(t, "t.csv", []byte("second,requests\n0,5\n1,7\n2,9\n")), 2
	if w, err = f.workload(false); err != nil || w.Duration != 3*time.Second || w.Trace[2] != 18 {
		t.Errorf("%+v %v", w, err)
	}
	if w, err = f.workload(true); err != nil || w.Duration != 5*time.Second {
		t.Errorf("%+v %v", w, err)
	}
}

func TestReplayWindows(t *testing.T) {
	jobs := []replay.Job{{}, {At: 95 * time.Second}}
	for _, c := range []struct {
		f    shiftFlags
		want time.Duration
	}{
		{shiftFlags{}, 0},
		{shiftFlags{window: 5 * time.Second}, 5 * time.Second},
		{shiftFlags{shifts: []string{"invert:image"}}, 3 * time.Second},
		{shiftFlags{plot: "x.svg"}, 3 * time.Second},
	} {
		if got := c.f.windows(jobs); got != c.want {
			t.Errorf("%+v: windows of %v, want %v", c.f, got, c.want)
		}
	}
	if got := (shiftFlags{plot: "x.svg"}).windows(jobs[:1]); got != time.Second {
		t.Errorf("a short load has windows of %v", got)
	}
}

func TestLiveLine(t *testing.T) {
	var b bytes.Buffer
	silent := newLiveLine(&b)
	silent.show("nobody watches")
	if b.Len() != 0 {
		t.Errorf("wrote %q where there is no terminal", b.String())
	}
	l := &liveLine{out: &b, width: 10}
	l.show("twelve chars")
	l.show("ä")
	l.show("")
	if got, want := b.String(), "\rtwelve ch\r\rä        \r\r \r"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
