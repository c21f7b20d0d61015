package server_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/tensor"
)

// lateFusion is a model of a text and a picture with an encoder for each.
func lateFusion(name string) modelpkgtest.Fusion {
	return modelpkgtest.Fusion{Name: name, Staged: true, BatchItemsMax: 8, Subsets: [][]int{{0}, {0, 1}},
		Encoders: []modelpkgtest.Encoder{{Name: "text", Width: 8, Layers: 2}, {Name: "image", Width: 16, Layers: 2}}}
}

// writeFusion writes the package into a directory of models.
func writeFusion(t *testing.T, dir string, f modelpkgtest.Fusion) {
	t.Helper()
	dir = filepath.Join(dir, f.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := f.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	measured := []modelpkgtest.Measured{{Accuracy: 0.8, Item: time.Millisecond}, {Accuracy: 0.9, Item: 5 * time.Millisecond}}
	if err := modelpkgtest.WriteProfile(m, measured); err != nil {
		t.Fatal(err)
	}
}

// serveEncoder serves the picture's encoder alone.
func serveEncoder(t *testing.T, grpcAddr string) *server.Server {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := lateFusion("").Encoders[1].Write(dir, 8)
	if err != nil {
		t.Fatal(err)
	}
	if err := modelpkgtest.WriteProfile(m, []modelpkgtest.Measured{{Accuracy: 0.9, Item: time.Millisecond}}); err != nil {
		t.Fatal(err)
	}
	return startServer(t, func(cfg *server.Config) {
		cfg.ModelsDir, cfg.WatchEvery, cfg.GRPCAddr, cfg.Instances = filepath.Dir(dir), 0, grpcAddr, 1
	})
}

// TestAStageRunsElsewhere serves a late-fusion package whose picture's encoder runs on
// another mosel, and compares its answers with those of the same package with all stages
// here. Then the other mosel goes away and comes back.
func TestAStageRunsElsewhere(t *testing.T) {
	there := serveEncoder(t, "127.0.0.1:0")
	address := there.GRPCAddr().String()
	dir := t.TempDir()
	split := lateFusion("split")
	split.Remote = map[string]string{"image": "grpc://" + address + "/image"}
	writeFusion(t, dir, split)
	writeFusion(t, dir, lateFusion("local"))
	here := startServer(t, func(cfg *server.Config) { cfg.ModelsDir, cfg.WatchEvery, cfg.Instances = dir, 0, 1 })
	defer func() {
		if err := here.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	c, err := client.New("http://"+here.Addr().String(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	same := func(when string, items int, modalities ...string) {
		t.Helper()
		want, err := askFusion(t, c, "local", items, modalities...)
		if err != nil {
			t.Fatal(when, err)
		}
		if got, err := askFusion(t, c, "split", items, modalities...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s, %d items of %q: % x, want % x: %v", when, items, modalities, got, want, err)
		}
	}
	for _, items := range []int{1, 2, 5, 8, 20} {
		same("at first", items, "text")
		same("at first", items, "text", "image")
	}
	shutDown(t, there)
	for range 3 {
		var told *client.Error
		if _, err := askFusion(t, c, "split", 1, "text", "image"); !errors.As(err, &told) || told.Status != http.StatusServiceUnavailable {
			t.Errorf("while the other server is away: %v", err)
		} else if strings.Contains(told.Message, address) {
			t.Errorf("a client is told where the other server is: %v", told)
		}
		same("while the other server is away", 3, "text")
	}
	there = serveEncoder(t, address)
	defer shutDown(t, there)
	for late := time.Now().Add(20 * time.Second); ; {
		if _, err := askFusion(t, c, "split", 1, "text", "image"); err == nil {
			break
		}
		if time.Now().After(late) {
			t.Fatal("it does not come back")
		}
		<-time.After(50 * time.Millisecond)
	}
	same("in the end", 8, "text", "image")
}

// askFusion returns the scores of items that carry these modalities.
func askFusion(t *testing.T, c *client.Client, model string, items int, modalities ...string) ([]byte, error) {
	t.Helper()
	r := client.Request{Model: model, Modalities: modalities}
	for i, width := range []int{8, 16}[:len(modalities)] {
		numbers := make([]float32, items*width)
		for k := range numbers {
			numbers[k] = float32((7*k+3*i)%11) / 11
		}
		x, err := tensor.Of(modalities[i], tensor.Shape{int64(items), int64(width)}, numbers)
		if err != nil {
			t.Fatal(err)
		}
		r.Inputs = append(r.Inputs, x)
	}
	got, err := c.Infer(t.Context(), r)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(got.Modalities, modalities) {
		t.Errorf("ran %q of %q", got.Modalities, modalities)
	}
	return got.Outputs[0].Data, nil
}
