package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// The models that are served: one input each, of one item.
const (
	inputBytes   = 10 << 10 // of model "bytes"
	imageNumbers = 784      // of model "image"
	classes      = 10
)

// writeModels makes the packages.
func writeModels(dir string) (bytesModel, imageModel *modelpkg.Model, err error) {
	scores := modelpkg.Spec{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{classes}}
	write := func(name string, d tensor.DType, n int64) (*modelpkg.Model, error) {
		m := modelpkgtest.Model(name, []modelpkg.Spec{{Name: "x", DType: d, Shape: tensor.Shape{n}}}, scores, "x")
		return modelpkgtest.Write(dir, m, []modelpkgtest.Measured{{Accuracy: 0.9, Item: time.Millisecond}})
	}
	if bytesModel, err = write("bytes", tensor.Uint8, inputBytes); err != nil {
		return nil, nil, err
	}
	imageModel, err = write("image", tensor.FP32, imageNumbers)
	return bytesModel, imageModel, err
}

// subject is a server under one transport's load.
type subject struct {
	name  string
	child *child
	open  opener
}

// Subjects of a transport, in the order of the table. Both echo servers are bare: the
// brief one answers with as many bytes as mosel does, the equal one with as many as it
// received. The bounds use the brief one, which is stricter.
const (
	brief = iota
	equal
	mosel
	subjectsEnd
)

// transport is one way to send the same work to all servers.
type transport struct {
	name     string
	about    string
	ratioMin float64 // bound on throughput relative to brief; 0: none
	addedMax float64 // bound on milliseconds added to the 99th percentile; 0: none
	subjects [subjectsEnd]subject
}

// subjectsOf names the subjects; how they are reached depends on the transport.
func subjectsOf(p pair) [subjectsEnd]subject {
	return [...]subject{
		brief: {name: "echo, brief", child: p.bare},
		equal: {name: "echo, equal", child: p.bare},
		mosel: {name: "mosel", child: p.mosel},
	}
}

// The bounds.
const (
	ratioMin = 0.5
	addedMax = 1.0 // milliseconds
)

// pair is the two server processes.
type pair struct{ mosel, bare *child }

// measureServers starts the servers, measures every transport and stops them.
func measureServers(ctx context.Context, o options, out io.Writer) (sound bool, err error) {
	dir, err := os.MkdirTemp("", "servebench-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bytesModel, imageModel, err := writeModels(dir)
	if err != nil {
		return false, err
	}
	var p pair
	if p.mosel, err = startChild(ctx, "-role", roleMosel, "-models", dir, "-cpuprofile", o.pprof); err != nil {
		return false, err
	}
	defer p.mosel.Stop()
	if p.bare, err = startChild(ctx, "-role", roleEcho); err != nil {
		return false, err
	}
	defer p.bare.Stop()
	sound = true
	for _, prepare := range []func() (*transport, error){
		func() (*transport, error) { return restBinary(p, bytesModel) },
		func() (*transport, error) { return restJSON(p, imageModel) },
		func() (*transport, error) { return overGRPC(p, bytesModel) },
	} {
		t, err := prepare()
		if err != nil {
			return false, err
		}
		if o.only != "" && o.only != t.name {
			continue
		}
		r, err := measureTransport(ctx, o, p, t)
		if err != nil {
			return false, fmt.Errorf("%s: %w", t.name, err)
		}
		sound = r.print(out) && sound
	}
	return sound, nil
}

// restBinary is 10 KB in the protocol's binary form.
func restBinary(p pair, m *modelpkg.Model) (*transport, error) {
	t, err := overREST(p, m, tensor.Tensor{Name: "x", DType: tensor.Uint8, Shape: tensor.Shape{1, inputBytes}, Data: randomBytes()}, oip.Binary)
	if err != nil {
		return nil, err
	}
	t.name, t.about, t.ratioMin, t.addedMax = "rest-binary", "10 KB input in binary form", ratioMin, addedMax
	return t, nil
}

// restJSON is a picture of 784 numbers in JSON.
func restJSON(p pair, m *modelpkg.Model) (*transport, error) {
	random := rand.New(rand.NewPCG(1, 2))
	var data []byte
	for range imageNumbers {
		data, _ = binary.Append(data, binary.LittleEndian, float32(random.IntN(256))/255) // of a fixed size
	}
	t, err := overREST(p, m, tensor.Tensor{Name: "x", DType: tensor.FP32, Shape: tensor.Shape{1, imageNumbers}, Data: data}, oip.JSON)
	if err != nil {
		return nil, err
	}
	t.name, t.about = "rest-json", "784 numbers in JSON"
	return t, nil
}

// overREST prepares the request for one item, sends it to mosel once to check its
// answer and its length, and prepares the connections to the servers.
func overREST(p pair, m *modelpkg.Model, in tensor.Tensor, form oip.Form) (*transport, error) {
	request := oip.Request{Inputs: []tensor.Tensor{in}, OutputForm: form}
	body, n, err := request.Append(nil, form)
	if err != nil {
		return nil, err
	}
	header := map[string]string{"Content-Type": "application/json"}
	if n != oip.AllJSON {
		header = map[string]string{"Content-Type": "application/octet-stream", oip.HeaderLength: fmt.Sprint(n)}
	}
	aim := func(c *child, path string) opener { return openREST(c.REST, restRequest(path, header, body)) }
	infer := aim(p.mosel, "/v2/models/"+m.Name+"/infer")
	answer, err := askOnce(infer)
	if err != nil {
		return nil, err
	}
	if row := fake.Row(m, 0, 0, runtime.Item{in.Data}); form == oip.Binary && !bytes.HasSuffix(answer, row) {
		return nil, fmt.Errorf("mosel's answer is wrong: %q", answer)
	}
	t := &transport{subjects: subjectsOf(p)}
	t.subjects[brief].open = aim(p.bare, fmt.Sprintf("/%d", len(answer)))
	t.subjects[equal].open = aim(p.bare, fmt.Sprintf("/%d", len(body)))
	t.subjects[mosel].open = infer
	return t, nil
}

// askOnce sends one request and returns the body of its answer.
func askOnce(open opener) (body []byte, err error) {
	c, err := open()
	if err != nil {
		return nil, err
	}
	defer c.close()
	rest := c.(*restCaller)
	if _, err := rest.conn.Write(rest.request); err != nil {
		return nil, err
	}
	return body, readAnswer(bufio.NewReader(rest.conn), &body)
}
