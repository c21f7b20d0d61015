package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// kind is a package of one kind of model, with graphs that really run, and what it must
// answer, computed in the test.
type kind struct {
	name  string
	yaml  string            // after format and name
	files map[string][]byte // beside mosel.yaml
	// scores are those of every sample, by declared variant: the profile's accuracies are
	// their means.
	scores map[string][]float64
	asks   []ask
	// replayed means that samples are sent, several in a request, and their answers scored.
	replayed bool
}

// ask is a request to a model, and its answer.
type ask struct {
	what   string
	inputs []tensor.Tensor
	floor  float64
	want   map[string][]result // by declared variant that may run
	near   float64             // how far numbers may be off
	fault  string              // in place of an answer
	binary bool                // JSON cannot carry it
}

// result is an output: its numbers, or its texts.
type result struct {
	output string
	shape  tensor.Shape
	values []float64
	texts  []string
}

// write writes the package.
func (k kind) write(t *testing.T, models string) (dir string) {
	t.Helper()
	dir = filepath.Join(models, k.name)
	files := maps.Clone(k.files)
	files[modelpkg.FileName] = fmt.Appendf(nil, "format: 1\nname: %s\n%slimits: {max_batch: 8}\n", k.name, k.yaml)
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// prepare checks and profiles the package, and compares the accuracies with what is
// computed here.
func (k kind) prepare(t *testing.T, models string) {
	t.Helper()
	dir := k.write(t, models)
	if out, err := runMosel("check", dir, "--models", models); err != nil || !strings.Contains(out, "graphs: run on samples") {
		t.Fatalf("check: %v\n%s", err, out)
	}
	p, _ := profiled(t, dir)
	for _, v := range p.Variants {
		declared, _, _ := strings.Cut(v.Name, "@")
		scores, known := k.scores[declared]
		if want := mean(scores); !known || math.Abs(v.Accuracy.Mean-want) > 2e-6 || v.Accuracy.Samples != len(scores) {
			t.Errorf("the accuracy of %s is %+v, want %v of %d samples", v.Name, v.Accuracy, want, len(scores))
		}
	}
}

func mean(values []float64) (m float64) {
	for _, v := range values {
		m += v / float64(len(values))
	}
	return m
}

// serveDir serves the packages in a directory on the real runtime.
func serveDir(t *testing.T, dir string) *server.Server {
	t.Helper()
	cfg := server.Default(2)
	cfg.ModelsDir, cfg.Device, cfg.Strict, cfg.WatchEvery, cfg.Instances = dir, "test", true, 0, 1
	cfg.Addr, cfg.GRPCAddr, cfg.MetricsAddr = "127.0.0.1:0", "127.0.0.1:0", ""
	cfg.Log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := s.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(line []byte) (int, error) {
	w.t.Logf("%s", line)
	return len(line), nil
}

// TestEveryKindOfModel checks, profiles and serves a package of each kind, and asks over
// REST with JSON, over REST with binary tensors, and over gRPC.
func TestEveryKindOfModel(t *testing.T) {
	needRuntime(t)
	there := t.TempDir()
	signKind(t).prepare(t, there)
	away := serveDir(t, there)
	kinds := []kind{signKind(t), remoteKind(t, "grpc://"+away.GRPCAddr().String()+"/sign"), stagesKind(t), multilabelKind(t), textsKind(t),
		pictureKind(t), gridKind(t), tagsKind(t), stagedTagsKind(t), externalKind(t)}
	models := t.TempDir()
	for _, k := range kinds {
		t.Run("prepare "+k.name, func(t *testing.T) { k.prepare(t, models) })
	}
	if t.Failed() {
		return
	}
	s := serveDir(t, models)
	rest, grpc := "http://"+s.Addr().String(), "grpc://"+s.GRPCAddr().String()
	for _, way := range []struct {
		name, url string
		json      bool
	}{{"JSON", rest, true}, {"binary", rest, false}, {"gRPC", grpc, false}} {
		c, err := client.New(way.url, client.Options{GRPC: clientgrpc.Dial})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range kinds {
			for _, a := range k.asks {
				t.Run(k.name+" over "+way.name+" "+a.what, func(t *testing.T) { a.send(t, c, k.name, way.json) })
			}
		}
		c.Close()
	}
	t.Run("mosel infer", func(t *testing.T) { inferKinds(t, rest, kinds) })
	t.Run("tags in a raw body", func(t *testing.T) { rawTags(t, rest) })
	for _, k := range kinds {
		if k.replayed {
			t.Run("replay "+k.name, func(t *testing.T) { k.replay(t, filepath.Join(models, k.name), rest) })
		}
	}
}

// rawTags sends three tokens as the whole body.
func rawTags(t *testing.T, rest string) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, rest+"/v2/models/tags/infer", bytes.NewReader(wholes(1, 2, 3)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(oip.HeaderLength, "0")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if variant := answer.Header.Get("X-Mosel-Variant"); answer.StatusCode != http.StatusOK || variant != "v@4" {
		t.Errorf("status %d, ran %q", answer.StatusCode, variant)
	}
}

// send sends the request and compares the answer.
func (a ask) send(t *testing.T, c *client.Client, model string, json bool) {
	t.Helper()
	got, err := c.Infer(t.Context(), client.Request{Model: model, Inputs: a.inputs, MinAccuracy: a.floor, JSON: json})
	if a.binary && json {
		a.fault = "which JSON cannot carry: ask for binary form"
	}
	if a.fault != "" {
		if err == nil || !strings.Contains(err.Error(), a.fault) {
			t.Errorf("%v, want %q", err, a.fault)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.ExpectedAccuracy < a.floor {
		t.Errorf("expected accuracy %v, the floor is %v", got.ExpectedAccuracy, a.floor)
	}
	ran := ""
	for _, m := range got.Mix() {
		declared, _, _ := strings.Cut(m.Variant, "@")
		if ran != "" && ran != declared {
			t.Fatalf("ran %s", got.Variant)
		}
		ran = declared
	}
	want, may := a.want[ran]
	if !may {
		t.Fatalf("ran %q, not one of %q", got.Variant, slices.Sorted(maps.Keys(a.want)))
	}
	for _, w := range want {
		out, found := got.Output(w.output)
		if !found || !out.Shape.Equal(w.shape) {
			t.Errorf("output %s is %v, want %v", w.output, out.Shape, w.shape)
			continue
		}
		w.compare(t, out, a.near)
	}
}

// compare compares a tensor with the result.
func (w result) compare(t *testing.T, out tensor.Tensor, near float64) {
	t.Helper()
	if w.texts != nil {
		if texts, err := tensor.Values[string](out); err != nil || !slices.Equal(texts, w.texts) {
			t.Errorf("output %s is %q, want %q; %v", w.output, texts, w.texts, err)
		}
		return
	}
	values, err := tensor.Values[float32](out)
	same := err == nil && len(values) == len(w.values)
	for i := 0; same && i < len(values); i++ {
		same = math.Abs(float64(values[i])-w.values[i]) <= near+1e-5
	}
	if !same {
		t.Errorf("output %s is %v, want %v; %v", w.output, values, w.values, err)
	}
}

// replay sends samples, three in a request, as mosel replay does.
func (k kind) replay(t *testing.T, dir, url string) {
	samples, err := replay.HeldOut(dir)
	if err != nil {
		t.Fatal(err)
	}
	target, err := replay.NewTarget(url, samples, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	for first := 0; first+3 <= samples.Len(); first += 3 {
		var got replay.Answer
		target.Send(t.Context(), replay.Job{Samples: []int32{int32(first), int32(first + 1), int32(first + 2)}}, &got)
		if got.Outcome != slo.OnTime {
			t.Fatalf("%v: %s", got.Outcome, got.Failure)
		}
		for _, want := range k.scores {
			for i, score := range got.Scores {
				if math.Abs(float64(score)-want[first+i]) > 1e-6 {
					t.Errorf("sample %d scores %v, want %v", first+i, score, want[first+i])
				}
			}
		}
	}
}
