package remote_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/runtime/remote"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// there is the model as the other server has it.
func there() *modelpkg.Model {
	m := modelpkgtest.Model("fusion", []modelpkg.Spec{
		{Name: "image", DType: tensor.Uint8, Shape: tensor.Shape{2, 3}},
		{Name: "wave", DType: tensor.Int16, Shape: tensor.Shape{-1}, Max: 64},
		{Name: "gain", DType: tensor.FP32, Shape: tensor.Shape{}},
	}, modelpkg.Spec{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{16}}, "image", "wave", "image_wave_gain")
	m.Inputs[2].Unbatched = true
	m.Limits.BatchItemsMax = 8
	return m
}

// start serves a model on a fake runtime over both transports.
func start(t testing.TB, m *modelpkg.Model, config fake.Config) *server.Server {
	t.Helper()
	dir := t.TempDir()
	if _, err := modelpkgtest.Write(dir, m, slices.Repeat([]modelpkgtest.Measured{{Accuracy: 0.9, Item: time.Millisecond}}, len(m.Variants))); err != nil {
		t.Fatal(err)
	}
	cfg := server.Default(2)
	cfg.ModelsDir, cfg.Runtime, cfg.WatchEvery = dir, fake.New(config), 0
	cfg.Addr, cfg.GRPCAddr, cfg.MetricsAddr = "127.0.0.1:0", "127.0.0.1:0", ""
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t testing.TB, s *server.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// addresses are those of a server, by transport.
func addresses(s *server.Server) map[string]string {
	return map[string]string{"gRPC": "grpc://" + s.GRPCAddr().String(), "REST": "http://" + s.Addr().String()}
}

// here is the model of a package whose variants run on a server.
func here(m *modelpkg.Model, address string) *modelpkg.Model {
	for i := range m.Variants {
		v := &m.Variants[i]
		v.Inputs, v.Path = nil, ""
		for at, in := range m.Inputs {
			if v.Modalities.Has(1 << in.Modality) {
				v.Inputs = append(v.Inputs, at)
			}
		}
		v.Remote = &modelpkg.Remote{Server: address, Model: m.Name, Version: m.Version, Slots: 4, Timeout: 10 * time.Second}
	}
	return m
}

func TestConformance(t *testing.T) {
	// An item's answer of the fake runtime tells the variant that ran it, so the suite
	// notices when the other server chooses another one.
	s := start(t, batched(), fake.Config{Instant: true})
	for transport, address := range addresses(s) {
		t.Run(transport, func(t *testing.T) {
			runtimetest.Run(t, runtimetest.Suite{Open: func(testing.TB) runtime.Runtime { return remote.New() }, Model: here(batched(), address)})
		})
	}
}

// batched is the model without the setting that holds for a whole batch, which the
// suite draws for each item.
func batched() *modelpkg.Model {
	m := there()
	m.Inputs[2].Unbatched = false
	return m
}

func load(t testing.TB, m *modelpkg.Model) runtime.Instance {
	t.Helper()
	in, err := remote.New().Load(t.Context(), m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	return in
}

func items(m *modelpkg.Model, n int) []runtime.Item {
	random := rand.New(rand.NewPCG(1, 2))
	list := make([]runtime.Item, n)
	for i := range list {
		for at, in := range m.Inputs {
			data := runtimetest.Random(random, in.Spec, 5)
			if in.Unbatched && i > 0 {
				data = list[0][at]
			}
			list[i] = append(list[i], data)
		}
	}
	return list
}

// TestAnswersAreThose checks that what comes back is what the other server answers to
// these very items, with a setting that holds for the whole batch too.
func TestAnswersAreThose(t *testing.T) {
	s := start(t, there(), fake.Config{Instant: true})
	for transport, address := range addresses(s) {
		m := here(there(), address)
		in := load(t, m)
		batch := items(m, 7)
		for v := range m.Variants {
			out, err := in.Run(t.Context(), v, batch)
			if err != nil {
				t.Fatalf("%s, variant %d: %v", transport, v, err)
			}
			for i, item := range batch {
				if want := fake.Row(m, 0, v, item); !bytes.Equal(out[0].Row(i), want) {
					t.Errorf("%s, variant %d, item %d: % x, want % x", transport, v, i, out[0].Row(i), want)
				}
			}
		}
	}
}

// TestSlots runs as many requests at a time as the package allows, and no more.
func TestSlots(t *testing.T) {
	var mu sync.Mutex
	running, most := 0, 0
	four := make(chan struct{})
	s := start(t, batched(), fake.Config{Instant: true})
	m := here(batched(), "grpc://"+s.GRPCAddr().String())
	m.Variants[1].Remote.Slots = 2
	if got := load(t, m).Slots(); got != 2 {
		t.Errorf("%d slots, want the least of its variants'", got)
	}
	bad := newBad(t)
	m = here(batched(), bad.address)
	in := load(t, m)
	bad.answers(func(int) reply {
		mu.Lock()
		if running++; running > most {
			if most = running; most == 4 {
				close(four)
			}
		}
		mu.Unlock()
		<-four
		mu.Lock()
		running--
		mu.Unlock()
		return bad.good(m, 1)
	})
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			if _, err := in.Run(t.Context(), 0, items(m, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most != 4 || in.Slots() != 4 {
		t.Errorf("%d requests at a time in %d slots", most, in.Slots())
	}
}

// TestTheOtherServerGoes stops it: the instance is lost, and loads again when it is
// back.
func TestTheOtherServerGoes(t *testing.T) {
	for _, transport := range []string{"gRPC", "REST"} {
		t.Run(transport, func(t *testing.T) {
			s := start(t, batched(), fake.Config{Instant: true})
			m := here(batched(), addresses(s)[transport])
			in := load(t, m)
			if _, err := in.Run(t.Context(), 0, items(m, 1)); err != nil {
				t.Fatal(err)
			}
			stop(t, s)
			for range 2 {
				_, err := in.Run(t.Context(), 0, items(m, 1))
				if !errors.Is(err, runtime.ErrLost) || slo.KindOf(err) != slo.KindUnavailable {
					t.Errorf("%v (kind %v), want a lost instance", err, slo.KindOf(err))
				}
				if strings.Contains(err.Error(), "127.0.0.1") || runtime.Detail(err) == "" {
					t.Errorf("%v: the error tells clients where the server is, or the log nothing (%q)", err, runtime.Detail(err))
				}
			}
			if _, err := remote.New().Load(t.Context(), m, runtime.Options{Threads: 1}); slo.KindOf(err) != slo.KindUnavailable {
				t.Errorf("loading while it is away: %v", err)
			}
		})
	}
}

// TestWhatDoesNotFit names every difference between the package and the other
// server's model.
func TestWhatDoesNotFit(t *testing.T) {
	s := start(t, there(), fake.Config{Instant: true})
	for name, test := range map[string]struct {
		change func(*modelpkg.Model)
		kind   slo.Kind
		want   []string
	}{
		"other model":   {func(m *modelpkg.Model) { m.Variants[0].Remote.Model = "fission" }, slo.KindNotFound, []string{"has no model fission, version 1"}},
		"other version": {func(m *modelpkg.Model) { m.Variants[0].Remote.Version = "7" }, slo.KindNotFound, []string{"has no model fusion, version 7"}},
		"types and shapes": {func(m *modelpkg.Model) {
			m.Inputs[0].DType, m.Inputs[0].Shape = tensor.FP32, tensor.Shape{4}
			m.Outputs[0].Shape = tensor.Shape{17}
		}, slo.KindInvalid, []string{`input "image" is UINT8 there and FP32 in the package`, `input "image" has the shape [2,3] there and [4] in the package`,
			`output "scores" has the shape [16] there and [17] in the package`}},
		"names": {func(m *modelpkg.Model) { m.Inputs[0].Name, m.Outputs[0].Name = "picture", "classes" }, slo.KindInvalid,
			[]string{`no input "picture", only image, wave, gain`, `no output "classes", only scores`}},
		"half a modality": {func(m *modelpkg.Model) { m.Inputs[0].Name = "wave" }, slo.KindInvalid, []string{`input "wave" is INT16 there`}},
		"no token":        {func(m *modelpkg.Model) { m.Variants[0].Remote.TokenEnv = "MOSEL_TEST_NO_SUCH_TOKEN" }, slo.KindInvalid, []string{"MOSEL_TEST_NO_SUCH_TOKEN", "is not set"}},
		"no authority":    {func(m *modelpkg.Model) { m.Variants[0].Remote.CA = "ca.pem" }, slo.KindInvalid, []string{"ca.pem"}},
		"a graph":         {func(m *modelpkg.Model) { m.Variants[0].Remote = nil }, slo.KindInvalid, []string{"variant image does not run on another server"}},
	} {
		for transport, address := range addresses(s) {
			t.Run(name+", "+transport, func(t *testing.T) {
				m := here(there(), address)
				test.change(m)
				in, err := remote.New().Load(t.Context(), m, runtime.Options{Threads: 1, Variants: []int{0}})
				if in != nil || slo.KindOf(err) != test.kind {
					t.Fatalf("%v, error of kind %v, want %v: %v", in, slo.KindOf(err), test.kind, err)
				}
				for _, want := range test.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%v\nlacks %q", err, want)
					}
				}
			})
		}
	}
}

func contextOf(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}
