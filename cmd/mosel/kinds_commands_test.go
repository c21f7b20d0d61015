package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

// inferKinds sends files and numbers of any size from the command line.
func inferKinds(t *testing.T, rest string, kinds []kind) {
	files := map[string]string{} // of requests
	for _, k := range kinds {
		switch k.name {
		case "picture":
			texts, err := tensor.Values[string](k.asks[0].inputs[0])
			if err != nil {
				t.Fatal(err)
			}
			files["red.jpg"] = file(t, "red.jpg", []byte(texts[0]))
		case "grid":
			files["grid.npy"] = file(t, "grid.npy", npy("<f4", "3, 2, 2", k.asks[1].inputs[0].Data))
		}
	}
	for _, c := range []struct {
		args    []string
		variant string // "": it fails
		fault   string
	}{
		{[]string{"picture", "--image", files["red.jpg"]}, "v", ""},
		{[]string{"grid", "--input", "grid=" + files["grid.npy"]}, "v@2x2", ""},
		{[]string{"grid", "--input", "grid=[1,2,3]"}, "", "give an .npy file"},
		{[]string{"tags", "--input", "ids=[1]"}, "v@2", ""},
		{[]string{"tags", "--input", "ids=[1,2,3,4,5,6,7,8,0,1,2]"}, "v@8", ""},
		{[]string{"tags", "--input", "ids=[1]", "--min-accuracy", "0.99"}, "", "the best is 0."},
		{[]string{"texts", "--input", "s=-2.25"}, "v", ""},
	} {
		out, err := runMosel(append([]string{"infer", "--addr", rest, "--json"}, c.args...)...)
		if c.variant == "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%q: %v, want %q", c.args, err, c.fault)
			}
			continue
		}
		var report struct{ Variant string }
		if err == nil {
			err = json.Unmarshal([]byte(out), &report)
		}
		if err != nil || report.Variant != c.variant {
			t.Errorf("%q: %v, ran %q, want %q", c.args, err, report.Variant, c.variant)
		}
	}
}

// TestBucketsInCommands plans for the sizes of items, and profiles a bucket that no sample
// belongs to.
func TestBucketsInCommands(t *testing.T) {
	needRuntime(t)
	k := tagsKind(t)
	k.yaml = strings.Replace(k.yaml, "[2, 4, 8]", "[2, 4, 8, 64]", 1)
	models := t.TempDir()
	dir := k.write(t, models)
	p, table := profiled(t, dir)
	if len(p.Variants) != 4 || strings.Count(table, "v@64") != 1 || strings.Count(table, "  *  v@") != 4 {
		t.Errorf("the table is\n%s", table)
	}
	for _, v := range p.Variants {
		if v.Accuracy.Mean != p.Variants[0].Accuracy.Mean || len(v.Batches) != 2 || v.Batches[0].P50MS <= 0 {
			t.Errorf("%s: %+v", v.Name, v)
		}
	}
	for _, c := range []struct {
		sizes, want string
	}{{"", "v@64"}, {"ids=2", "v@2"}, {"ids=4", "v@4"}, {"ids=3", `the buckets of ids are 2,4,8,64, not "3"`}, {"id=4", `has no input "id" with buckets`}} {
		args := []string{"plan", dir, "--device", "test", "--size", "4"}
		if c.sizes != "" {
			args = append(args, "--sizes", c.sizes)
		}
		out, err := runMosel(args...)
		if err != nil {
			out = err.Error()
		}
		if !strings.Contains(out, c.want) {
			t.Errorf("plan for %q says\n%s\nwant in it %s", c.sizes, out, c.want)
		}
	}
}
