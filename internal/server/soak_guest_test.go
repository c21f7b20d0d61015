package server_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/oip/inference"
	"github.com/mosel-serve/mosel/tensor"
)

// guest is the model that is loaded and unloaded: calls may not find it.
const guest = "guest"

// guests are the clients' actions on models, and operators' requests.
var guests = []sort{
	{"load and unload", 3, (*soakClient).comeOrGo},
	{"replaced", 1, (*soakClient).replace},
	{"operators' look", 4, (*soakClient).operate},
}

// writeGuest writes the guest's package, with another largest batch each time.
func writeGuest(dir string, batch int) (*modelpkg.Model, error) {
	temp, err := os.MkdirTemp(filepath.Dir(dir), "package")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	m := modelpkgtest.Model(guest, []modelpkg.Spec{{Name: "x", DType: tensor.Uint8, Shape: tensor.Shape{100}}},
		modelpkg.Spec{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{499}}, "x")
	m.Limits.BatchItemsMax = batch
	if _, err := modelpkgtest.Write(temp, m, []modelpkgtest.Measured{{Accuracy: 0.7, Item: 20 * time.Microsecond, Batch: 200 * time.Microsecond}}); err != nil {
		return nil, err
	}
	at := filepath.Join(dir, guest)
	if err := os.RemoveAll(at); err != nil {
		return nil, err
	}
	if err := os.Rename(filepath.Join(temp, guest), at); err != nil {
		return nil, err
	}
	return modelpkg.Load(at)
}

// comeOrGo loads or unloads the guest, over REST or gRPC.
func (c *soakClient) comeOrGo() int {
	c.visits.Lock() // half a package would be an error, which is not tested here
	defer c.visits.Unlock()
	return c.visit(c.chance(60))
}

func (c *soakClient) visit(comes bool) int {
	if c.chance(50) {
		what := "/unload"
		if comes {
			what = "/load"
		}
		r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+c.addr+"/v2/repository/models/"+guest+what, http.NoBody)
		return c.wantStatus(guest+what, r, err, 200)
	}
	ctx, cancel := c.wireContext(wireMax)
	defer cancel()
	calls := inference.NewGRPCInferenceServiceClient(c.grpcConn())
	var err error
	if comes {
		_, err = calls.RepositoryModelLoad(ctx, &inference.RepositoryModelLoadRequest{ModelName: guest})
	} else {
		_, err = calls.RepositoryModelUnload(ctx, &inference.RepositoryModelUnloadRequest{ModelName: guest})
	}
	if err != nil {
		c.fail("gRPC: load or unload: %v", err)
	}
	return statusOf(err, nil)
}

// replace writes another package for the guest and loads it.
func (c *soakClient) replace() int {
	c.visits.Lock()
	defer c.visits.Unlock()
	if _, err := writeGuest(c.dir, 1+c.random.IntN(20)); err != nil {
		c.fail("a package: %v", err)
		return 0
	}
	return c.visit(true)
}

// operate requests what operators look at.
func (c *soakClient) operate() int {
	address, paths := c.addr, []string{"/v1/status", "/v2/models/stats", "/v2/models/scene/stats", "/v1/explain?client_id=" + strconv.Itoa(c.random.IntN(5000)), "/metrics"}
	at := c.random.IntN(len(paths))
	statuses := []int{200}
	switch paths[at] {
	case "/metrics":
		answer, err := c.transport.RoundTrip(c.get("http://" + c.metricsAddr + "/metrics"))
		if err != nil {
			c.fail("metrics: %v", err)
			return 0
		}
		defer answer.Body.Close()
		if n, err := io.Copy(io.Discard, answer.Body); err != nil || n < 1000 || answer.StatusCode != 200 {
			c.fail("metrics: %d, %d bytes, %v", answer.StatusCode, n, err)
		}
		return answer.StatusCode
	case paths[3]:
		statuses = append(statuses, 404)
	}
	return c.wantStatus(paths[at], c.get("http://"+address+paths[at]), nil, statuses...)
}

func (c *soakClient) get(url string) *http.Request {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		c.fail("%v", err)
	}
	return r
}
