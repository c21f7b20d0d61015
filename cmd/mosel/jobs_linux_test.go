package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// number of kills and seed of TestJobsCrash, for `make jobs-crash`.
func fromEnvironment(t *testing.T, name string, usual int) int {
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s is %q: it must be a number", name, text)
	}
	return n
}

const (
	jobItems = 600
	jobWidth = 32
)

// pair writes a package with the modalities a and b, and the variants a, b and a_b.
func pair(dir string) {
	f := modelpkgtest.Fusion{Name: "pair", Encoders: []modelpkgtest.Encoder{{Name: "a", Width: jobWidth, Layers: 2}, {Name: "b", Width: jobWidth, Layers: 6}},
		Subsets: [][]int{{0}, {1}, {0, 1}}, BatchItemsMax: 16}
	at := filepath.Join(dir, "pair")
	if err := os.Mkdir(at, 0o755); err != nil {
		panic(err)
	}
	m, err := f.Write(at)
	if err != nil {
		panic(err)
	}
	err = modelpkgtest.WriteProfile(m, []modelpkgtest.Measured{{Accuracy: 0.8, Item: 200 * time.Microsecond}, {Accuracy: 0.9, Item: 600 * time.Microsecond}, {Accuracy: 0.95, Item: 800 * time.Microsecond}})
	if err != nil {
		panic(err)
	}
}

// pairRequest is a request of n random items.
func pairRequest(r *rand.Rand, n int) client.Request {
	var inputs []tensor.Tensor
	for _, name := range []string{"a", "b"} {
		values := make([]float32, n*jobWidth)
		for i := range values {
			values[i] = r.Float32() - 0.5
		}
		in, err := tensor.Of(name, tensor.Shape{int64(n), jobWidth}, values)
		if err != nil {
			panic(err)
		}
		inputs = append(inputs, in)
	}
	return client.Request{Model: "pair", Inputs: inputs}
}

// crashJob is a job of the test.
type crashJob struct {
	key     string
	id      string // "": no answer yet
	request client.Request
	lines   map[int]string // by item: as it was first read
	done    bool
}

// read reads the results that there are, and compares them with those read before.
func (j *crashJob) read(ctx context.Context, t *testing.T, c *client.Client) {
	job, err := c.JobResults(ctx, "pair", j.id, 0, func(r client.JobResult) error {
		if r.Err != nil {
			t.Errorf("%s: item %d failed: %v", j.id, r.Item, r.Err)
		}
		if was, ok := j.lines[r.Item]; ok && was != string(r.Line) {
			t.Errorf("%s: item %d was %s and is %s", j.id, r.Item, was, r.Line)
		}
		j.lines[r.Item] = string(r.Line)
		return nil
	})
	if err != nil {
		if saw(err) == "404" {
			t.Errorf("job %s is lost", j.id)
		}
		return
	}
	j.done = true
	if job.State != "completed" || job.Done != jobItems || job.ExpectedAccuracy < job.MinAccuracy {
		t.Errorf("the job ended as %+v", job)
	}
}

// submit submits the job until the server answers; false: the server is gone.
func (j *crashJob) submit(ctx context.Context, t *testing.T, c *client.Client) bool {
	job, err := c.SubmitJob(ctx, j.request, j.key)
	if err != nil {
		return false
	}
	if j.id != "" && j.id != job.ID {
		t.Errorf("key %s: job %s, then %s", j.key, j.id, job.ID)
	}
	j.id = job.ID
	return true
}

// TestJobsCrash kills the server (SIGKILL) at random instants, while jobs are submitted,
// run and read. No accepted job may be lost, no item may have another result than before
// or than a direct request for the same variant, and every job keeps its floor.
func TestJobsCrash(t *testing.T) {
	kills, seed := fromEnvironment(t, "KILLS", 6), fromEnvironment(t, "SEED", 1)
	r := rand.New(rand.NewPCG(uint64(seed), 0))
	store := filepath.Join(t.TempDir(), "jobs")
	start := setting{prepare: pair, flags: []string{"--jobs", store, "--jobs-client", "1000"}}
	var jobs []*crashJob
	for kill := range kills {
		p := launch(t, start)
		c := p.client(false)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(r.IntN(400))*time.Millisecond, func() {
			_ = p.cmd.Process.Signal(syscall.SIGKILL)
		})
		go func() { <-p.gone; cancel() }()
		for i := 0; ctx.Err() == nil; i++ {
			if len(jobs) == 0 || jobs[len(jobs)-1].id != "" && undone(jobs) < 3 {
				j := &crashJob{key: fmt.Sprintf("key-%d-%d", kill, i), request: pairRequest(r, jobItems), lines: map[int]string{}}
				j.request.MinAccuracy = []float64{0.8, 0.88, 0.93, 0.95}[r.IntN(4)]
				jobs = append(jobs, j)
			}
			for _, j := range jobs {
				if !j.done && j.submit(ctx, t, c) { // again, if it is known
					j.read(ctx, t, c)
				}
			}
		}
		cancel()
		p.end()
	}
	p := launch(t, start)
	c := p.client(false)
	accepted := 0
	for _, j := range jobs {
		if j.id != "" {
			accepted++
		}
		if !j.submit(t.Context(), t, c) {
			t.Fatalf("job %s is refused", j.key)
		}
		j.read(t.Context(), t, c)
	}
	checked := compareDirect(t, c, jobs)
	t.Logf("%d kills, %d jobs (%d accepted before the last start), %d results compared with direct requests: 0 lost, 0 wrong", kills, len(jobs), accepted, checked)
	p.signal(syscall.SIGTERM)
	if code := p.end(); code != 0 {
		t.Errorf("it ended with %d: %s", code, p.log.String())
	}
}

func undone(jobs []*crashJob) (n int) {
	for _, j := range jobs {
		if !j.done {
			n++
		}
	}
	return n
}

// compareDirect compares the results with direct requests for the same items and variants.
func compareDirect(t *testing.T, c *client.Client, jobs []*crashJob) (checked int) {
	t.Helper()
	for _, j := range jobs {
		direct := map[string][]float32{}
		for variant, modalities := range map[string][]string{"a": {"a"}, "b": {"b"}, "a_b": {"a", "b"}} {
			q := j.request
			q.Modalities = modalities
			q.MinAccuracy = 0
			answer, err := c.Infer(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if direct[variant], err = tensor.Values[float32](answer.Outputs[0]); err != nil {
				t.Fatal(err)
			}
		}
		for i := range jobItems {
			var line struct {
				Parameters struct{ Variant string }
				Outputs    []struct{ Data []float32 }
			}
			if err := json.Unmarshal([]byte(j.lines[i]), &line); err != nil || len(line.Outputs) != 1 {
				t.Fatalf("%s: item %d has the result %q: %v", j.id, i, j.lines[i], err)
			}
			values, ok := direct[line.Parameters.Variant]
			if !ok {
				t.Fatalf("%s: item %d ran on %q", j.id, i, line.Parameters.Variant)
			}
			for k, is := range line.Outputs[0].Data {
				if want := values[i*modelpkgtest.FusionClasses+k]; math.Abs(float64(is-want)) > 1e-4 {
					t.Errorf("%s: item %d: %v, direct %v", j.id, i, is, want)
				}
			}
			checked++
		}
	}
	return checked
}

// TestJobCommands checks the commands against a real server.
func TestJobCommands(t *testing.T) {
	p := launch(t, setting{prepare: pair, flags: []string{"--jobs", filepath.Join(t.TempDir(), "jobs")}})
	file := filepath.Join(t.TempDir(), "items.npz")
	writeItems(t, file, 50)
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		root := rootCommand()
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(append([]string{"job", "--addr", p.rest}, args...))
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	text, err := run("submit", "pair", "--input", file, "--min-accuracy", "0.9", "--wait", "--key", "k")
	if err != nil || !strings.Contains(text, "state     completed\nitems     50 of 50 done\naccuracy  0.9") {
		t.Fatalf("submit: %s, %v", text, err)
	}
	text, err = run("submit", "pair", "--input", file, "--min-accuracy", "0.9", "--key", "k", "--json")
	var job oip.Job
	if err != nil || json.Unmarshal([]byte(text), &job) != nil || job.State != "completed" {
		t.Fatalf("submit with the same key: %s, %v", text, err)
	}
	if text, err = run("results", "pair", job.ID, "--from", "48"); err != nil || strings.Count(text, "\n") != 2 || !strings.Contains(text, `"item":49`) {
		t.Errorf("results: %s, %v", text, err)
	}
	if text, err = run("list", "pair"); err != nil || !strings.Contains(text, job.ID+"  completed") {
		t.Errorf("list: %s, %v", text, err)
	}
	if text, err = run("cancel", "pair", job.ID); err != nil || !strings.Contains(text, "completed") {
		t.Errorf("a job that has ended is cancelled: %s, %v", text, err)
	}
	if text, err = run("submit", "pair", "--input", file, "--min-accuracy", "0.99", "--wait"); err == nil || strings.Contains(text, "job-") || !strings.Contains(err.Error(), "the best is 0.95") {
		t.Errorf("a floor that is too high: %s, %v", text, err)
	}
	if _, err = run("status", "pair", "job-none"); err == nil || !strings.Contains(err.Error(), "has no job") {
		t.Errorf("an unknown job: %v", err)
	}
}

// writeItems writes items of the package pair to an .npz file.
func writeItems(t *testing.T, name string, n int) {
	t.Helper()
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := modelpkg.WriteNPZ(file, pairRequest(rand.New(rand.NewPCG(3, 3)), n).Inputs); err != nil {
		t.Fatal(err)
	}
}
