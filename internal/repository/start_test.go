package repository_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/repository"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/slo"
)

// ways are the mistakes that a package can have, with a part of the error.
var ways = map[string]struct {
	spoil func(d *desk)
	says  string
}{
	"not YAML":   {func(d *desk) { d.edit("broken/mosel.yaml", "{}") }, "broken"},
	"no graph":   {func(d *desk) { d.remove("broken/x.onnx") }, "x.onnx"},
	"no profile": {func(d *desk) { d.remove("broken/profiles") }, "mosel profile"},
	"a twin": {func(d *desk) {
		d.remove("broken")
		d.write(pack{"second", "first", "1", 2})
	}, "which the package"},
}

func TestOneWrongPackageIsLeftOut(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			d := bare(t, first, pack{"broken", "broken", "1", 2})
			way.spoil(d)
			d.start(repository.Config{Dir: d.dir})
			d.serves("at the start", first)
			told := false
			for _, e := range d.Index() {
				told = told || e.State == repository.Unavailable && strings.Contains(e.Reason, way.says)
			}
			if !told || len(d.Index()) != 2 {
				t.Errorf("the index does not tell it: %+v", d.Index())
			}
			_, err := repository.Open(repository.Config{Dir: d.dir, Strict: true, Log: slog.New(slog.DiscardHandler)})
			if err == nil || !strings.Contains(err.Error(), way.says) {
				t.Errorf("strict: %v", err)
			}
		})
	}
}

func TestFirstOfTwoTwinsIsServed(t *testing.T) {
	d := bare(t, first, pack{"later", "first", "1", 5})
	d.start(repository.Config{Dir: d.dir})
	d.serves("at the start", first)
	d.remove("first")
	d.settle()
	d.serves("when the first is gone", pack{"later", "first", "1", 5})
}

func TestOpenRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		act  func(d *desk)
		only []string
		kind slo.Kind
		says []string
	}{
		"all wrong":       {func(d *desk) { d.edit("first/mosel.yaml", "{}"); d.edit("second/mosel.yaml", "[]") }, nil, slo.KindInvalid, []string{"first", "second"}},
		"one not there":   {func(*desk) {}, []string{"nosuch"}, slo.KindNotFound, []string{"nosuch"}},
		"empty directory": {func(d *desk) { d.dir = d.t.TempDir() }, nil, slo.KindNotFound, []string{"no model package"}},
		"no directory":    {func(d *desk) { d.dir = filepath.Join(d.t.TempDir(), "nosuch") }, nil, slo.KindInvalid, []string{"nosuch"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := bare(t, first, second)
			tt.act(d)
			_, err := repository.Open(repository.Config{Dir: d.dir, Only: tt.only, Log: slog.New(slog.DiscardHandler)})
			kind(t, name, err, tt.kind)
			for _, says := range tt.says {
				if err != nil && !strings.Contains(err.Error(), says) {
					t.Errorf("it says %v, and nothing of %s", err, says)
				}
			}
		})
	}
}

// TestOneModelThatCannotRun has a model whose warm-up fails: it is not served, until it
// has been repaired.
func TestOneModelThatCannotRun(t *testing.T) {
	d := bare(t, first, second)
	name := "second"
	d.broken.Store(&name)
	d.start(repository.Config{Dir: d.dir})
	d.serves("at the start", first)
	d.index("at the start", "second", "1", repository.Unavailable, "on fire")
	d.broken.Store(nil)
	d.must(d.Load("second"))
	d.serves("when it runs", first, second)

	for strict, only := range map[bool][]string{true: nil, false: {"second"}} {
		d.broken.Store(&name)
		r, err := repository.Open(repository.Config{Dir: d.dir, Only: only, Strict: strict, Log: slog.New(slog.DiscardHandler)})
		d.must(err)
		rt := fake.New(fake.Config{Fail: func(run fake.Run) error {
			if run.Model == name {
				return errors.New("the device is on fire")
			}
			return nil
		}})
		e, err := engine.New(t.Context(), engine.Config{Policy: plan.PolicyMosel, Instances: 1, Threads: 1, QueueItemsMax: 100, QueueJobsMax: 100,
			Log: slog.New(slog.DiscardHandler)}, rt)
		d.must(err)
		if err := r.Serve(t.Context(), e); err == nil || !strings.Contains(err.Error(), "on fire") {
			t.Errorf("strict %v, of %q: %v", strict, only, err)
		}
		d.must(e.Drain(t.Context()))
	}
}

func TestPackagesThatOthersMayWriteAreNamed(t *testing.T) {
	d := bare(t, first, second)
	d.must(os.Chmod(d.path("second", "x.onnx"), 0o666))
	var log bytes.Buffer
	d.log = slog.New(slog.NewTextHandler(&log, nil))
	d.start(repository.Config{Dir: d.dir})
	if text := log.String(); !strings.Contains(text, "chmod -R go-w "+d.path("second")) || !strings.Contains(text, "x.onnx") || strings.Contains(text, "go-w "+d.path("first")) {
		t.Errorf("the log says: %s", text)
	}
}
