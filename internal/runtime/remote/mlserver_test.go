package remote_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/remote"
	"github.com/mosel-serve/mosel/internal/runtime/runtimetest"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// mlserverVariable names the program "mlserver", for where it is not in the path.
const mlserverVariable = "MOSEL_MLSERVER"

// mlserverModel is a model of MLServer: the scores of an item are its numbers, times
// two, and one more. It refuses numbers above 100, as a model does that checks its input.
const mlserverModel = `
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import MLServerError
from mlserver.types import InferenceResponse

class Double(MLModel):
    async def load(self):
        return True

    async def predict(self, request):
        x = self.decode(request.inputs[0], default_codec=NumpyCodec)
        if x.max() > 100:
            raise MLServerError("a number above 100", status_code=400)
        return InferenceResponse(model_name=self.name, model_version=self.version,
                                 outputs=[NumpyCodec.encode_output("y", (2 * x + 1).astype(np.float32))])
`

// mlserver starts MLServer with the model double, version 3, and returns its addresses
// by transport.
func mlserver(t *testing.T) map[string]string {
	t.Helper()
	program := os.Getenv(mlserverVariable)
	if program == "" {
		var err error
		if program, err = exec.LookPath("mlserver"); err != nil {
			t.Skipf("MLServer is not there: %v; \"make servers\" installs it and runs this test, or %s names the program", err, mlserverVariable)
		}
	}
	dir := t.TempDir()
	ports := freePorts(t, 3)
	tensors := func(name string) []any {
		return []any{map[string]any{"name": name, "datatype": "FP32", "shape": []int{-1, 4}}}
	}
	for name, content := range map[string]any{
		"settings.json": map[string]any{"host": "127.0.0.1", "http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2], "parallel_workers": 0, "debug": false},
		"double/model-settings.json": map[string]any{"name": "double", "implementation": "double_model.Double", "parameters": map[string]any{"version": "3"},
			"inputs": tensors("x"), "outputs": tensors("y")},
		"double/double_model.py": mlserverModel,
	} {
		text, ok := content.(string)
		if !ok {
			encoded, err := json.Marshal(content)
			if err != nil {
				t.Fatal(err)
			}
			text = string(encoded)
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, program)
	return map[string]string{"REST": fmt.Sprintf("http://127.0.0.1:%d", ports[0]), "gRPC": fmt.Sprintf("grpc://127.0.0.1:%d", ports[1])}
}

// run starts a program that runs until the test ends, and shows what it said if the
// test has failed.
func run(t *testing.T, dir, program string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "start", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(dir, "double"))
	cmd.WaitDelay = time.Second
	var says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &says, &says
	if err := cmd.Start(); err != nil {
		cancel()
		t.Skipf("MLServer does not start: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("MLServer said:\n%s", says.String())
		}
	})
}

func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // when all are known
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// doubled is a package whose one variant runs on the model double.
func doubled(address string) *modelpkg.Model {
	m := modelpkgtest.Model("doubled", []modelpkg.Spec{{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{4}}},
		modelpkg.Spec{Name: "y", DType: tensor.FP32, Shape: tensor.Shape{4}}, "x")
	m.Limits.BatchItemsMax = 8
	m = here(m, address)
	m.Variants[0].Remote.Model, m.Variants[0].Remote.Version = "double", "3"
	return m
}

// TestMLServer has a variant run on a server of another make.
func TestMLServer(t *testing.T) {
	for transport, address := range mlserver(t) {
		t.Run(transport, func(t *testing.T) {
			m := doubled(address)
			untilReady(t, m)
			runtimetest.Run(t, runtimetest.Suite{Open: func(testing.TB) runtime.Runtime { return remote.New() }, Model: m})
			in := load(t, m)
			numbers := func(values ...float32) []byte {
				x, _ := tensor.Of("", tensor.Shape{int64(len(values))}, values)
				return x.Data
			}
			out, err := in.Run(t.Context(), 0, []runtime.Item{{numbers(0, 1, 2, 3)}, {numbers(-1, 0.5, 10, 100)}})
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []float32{1, 3, 5, 7, -1, 2, 21, 201} {
				if got := math.Float32frombits(binary.LittleEndian.Uint32(out[0].Data[4*i:])); got != want {
					t.Errorf("number %d is %v, want %v", i, got, want)
				}
			}
			if _, err := in.Run(t.Context(), 0, []runtime.Item{{numbers(0, 1, 2, 101)}}); slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), "above 100") {
				t.Errorf("what the model refuses: %v (kind %v)", err, slo.KindOf(err))
			}
			m.Inputs[0].Shape = tensor.Shape{5}
			if _, err := remote.New().Load(t.Context(), m, runtime.Options{Threads: 1}); slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), `[4] there and [5] in the package`) {
				t.Errorf("what does not fit: %v", err)
			}
		})
	}
}

// untilReady waits until a server has loaded its model.
func untilReady(t *testing.T, m *modelpkg.Model) {
	t.Helper()
	for late := time.Now().Add(time.Minute); ; {
		in, err := remote.New().Load(t.Context(), m, runtime.Options{Threads: 1})
		if err == nil {
			_ = in.Close()
			return
		}
		if time.Now().After(late) {
			t.Fatal(err)
		}
		<-time.After(100 * time.Millisecond)
	}
}
