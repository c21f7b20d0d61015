package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/client"
)

// TestBucketsOutsideThisProcess serves models with buckets whose graphs run in a separate
// process, and the same models as variants on that server.
func TestBucketsOutsideThisProcess(t *testing.T) {
	needRuntime(t)
	mosel, err := program()
	if err != nil {
		t.Fatal(err)
	}
	kinds := []kind{gridKind(t), tagsKind(t)}
	p := launch(t, setting{flags: []string{"--device", "test"}, prepare: func(models string) {
		for _, k := range kinds {
			k.yaml += "isolation: process\n"
			dir := k.write(t, models)
			for _, args := range [][]string{{"check", dir}, {"profile", dir, "--quick", "--batches", "1,8", "--device", "test"}} {
				if out, err := exec.CommandContext(t.Context(), mosel, args...).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", args[0], err, out)
				}
			}
		}
	}})
	models := t.TempDir()
	for _, k := range kinds {
		k.yaml = strings.Replace(k.yaml, "path: v.onnx", "remote: grpc://"+p.grpc+"/"+k.name, 1)
		k.prepare(t, models)
	}
	here, err := client.New("http://"+serveDir(t, models).Addr().String(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	for _, k := range kinds {
		if ids := p.workers(k.name); len(ids) != 1 {
			t.Errorf("%s has %d workers", k.name, len(ids))
		}
		for _, a := range k.asks {
			t.Run(k.name+" isolated "+a.what, func(t *testing.T) { a.send(t, p.client(false), k.name, false) })
			t.Run(k.name+" remote "+a.what, func(t *testing.T) { a.send(t, here, k.name, false) })
		}
	}
}
