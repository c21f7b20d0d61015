package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// TestJobOverhead measures how long a durable job takes beside one request with the same
// items, on the model digits (`make jobs-overhead`). The least times of several rounds
// are compared, as other programs only make them longer.
func TestJobOverhead(t *testing.T) {
	items := fromEnvironment(t, "OVERHEAD_ITEMS", 0)
	if items == 0 {
		t.Skip("a measurement: make jobs-overhead")
	}
	p := launch(t, setting{flags: []string{"--jobs", filepath.Join(t.TempDir(), "jobs")}, prepare: func(dir string) {
		if err := os.CopyFS(filepath.Join(dir, "digits"), os.DirFS("../../models/digits")); err != nil {
			t.Fatal(err)
		}
	}})
	c := p.client(false)
	for _, q := range []client.Request{digits(items, "text"), digits(items, "image", "text")} {
		least := map[string]time.Duration{}
		measure := func(name string, do func()) {
			began := time.Now()
			do()
			if took := time.Since(began); least[name] == 0 || took < least[name] {
				least[name] = took
			}
		}
		for range 3 {
			measure("request", func() {
				if _, err := c.Infer(t.Context(), q); err != nil {
					t.Fatal(err)
				}
			})
			measure("job", func() {
				job, err := c.SubmitJob(t.Context(), q, "")
				if err == nil {
					job, err = c.JobResults(t.Context(), "digits", job.ID, items-1, func(client.JobResult) error { return nil })
				}
				if err != nil || job.State != "completed" {
					t.Fatal(job, err)
				}
			})
		}
		t.Logf("%d items on %v: request %v, job %v, ratio %.3f", items, q.Modalities, least["request"], least["job"], float64(least["job"])/float64(least["request"]))
	}
}

// digits is a request of n blank items.
func digits(n int, modalities ...string) client.Request {
	q := client.Request{Model: "digits", Modalities: modalities, Parameters: oip.Parameters{}}
	for _, name := range modalities {
		in := tensor.Tensor{Name: name, DType: tensor.Uint8, Shape: tensor.Shape{int64(n), 12}}
		if name == "image" {
			in.Shape = tensor.Shape{int64(n), 28, 28}
		}
		size, _ := in.Shape.Elements()
		in.Data = make([]byte, size)
		for i := range in.Data {
			in.Data[i] = byte('a' + i%26)
		}
		q.Inputs = append(q.Inputs, in)
	}
	return q
}
