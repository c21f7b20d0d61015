package server_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/tensor"
)

// fusion is a model of two modalities with a variant for the first and one for both.
func fusion(name string) *modelpkg.Model {
	spec := func(name string) modelpkg.Spec {
		return modelpkg.Spec{Name: name, DType: tensor.Uint8, Shape: tensor.Shape{2}}
	}
	return modelpkgtest.Model(name, []modelpkg.Spec{spec("image"), spec("sound")},
		modelpkg.Spec{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{8}}, "image", "image_sound")
}

// serveFusion starts a server of these models.
func serveFusion(t *testing.T, grpcAddr string, models ...*modelpkg.Model) *server.Server {
	t.Helper()
	dir := t.TempDir()
	for _, m := range models {
		measured := []modelpkgtest.Measured{{Accuracy: 0.8, Item: time.Millisecond}, {Accuracy: 0.9, Item: 2 * time.Millisecond}}
		if _, err := modelpkgtest.Write(dir, m, measured); err != nil {
			t.Fatal(err)
		}
	}
	return startServer(t, func(cfg *server.Config) {
		cfg.ModelsDir, cfg.Runtime, cfg.WatchEvery, cfg.GRPCAddr, cfg.Instances = dir, fake.New(fake.Config{Instant: true}), 0, grpcAddr, 1
	})
}

func shutDown(t *testing.T, s *server.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// TestAVariantRunsElsewhere serves a model with one variant here and one on another
// server, which goes away and comes back. Another model is answered all the while.
func TestAVariantRunsElsewhere(t *testing.T) {
	there := serveFusion(t, "127.0.0.1:0", fusion("fusion"))
	address := there.GRPCAddr().String()
	split := fusion("split")
	split.Variants[1].Remote = &modelpkg.Remote{Server: "grpc://" + address, Model: "fusion"}
	here := serveFusion(t, "127.0.0.1:0", split, fusion("local"))
	defer shutDown(t, here)
	c, err := client.New("http://"+here.Addr().String(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(model string, modalities ...string) error {
		r := client.Request{Model: model, Modalities: modalities}
		for _, name := range modalities {
			r.Inputs = append(r.Inputs, tensor.Tensor{Name: name, DType: tensor.Uint8, Shape: tensor.Shape{1, 2}, Data: []byte{1, 2}})
		}
		got, err := c.Infer(t.Context(), r)
		if err == nil && !slices.Equal(got.Modalities, modalities) {
			t.Errorf("ran %q of %q", got.Modalities, modalities)
		}
		return err
	}
	answered := func(when, model string, modalities ...string) {
		t.Helper()
		if err := ask(model, modalities...); err != nil {
			t.Errorf("%s, %s on %q: %v", when, model, modalities, err)
		}
	}
	answered("at first", "split", "image")
	answered("at first", "split", "image", "sound")
	answered("at first", "local", "image", "sound")
	shutDown(t, there)
	for range 3 {
		var told *client.Error
		if err := ask("split", "image", "sound"); !errors.As(err, &told) || told.Status != http.StatusServiceUnavailable {
			t.Errorf("while the other server is away: %v", err)
		}
		answered("while the other server is away", "local", "image", "sound")
		answered("while the other server is away", "split", "image")
	}
	there = serveFusion(t, address, fusion("fusion"))
	defer shutDown(t, there)
	for late := time.Now().Add(20 * time.Second); ask("split", "image", "sound") != nil; {
		if time.Now().After(late) {
			t.Fatal("it does not come back")
		}
		<-time.After(50 * time.Millisecond)
	}
	answered("in the end", "split", "image")
}
