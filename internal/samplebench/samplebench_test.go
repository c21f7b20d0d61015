package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
)

// TestPackagesAreValid puts every package together and loads it.
func TestPackagesAreValid(t *testing.T) {
	b := &bench{options: options{models: "../../models", gates: "../../training/gate", work: t.TempDir()}}
	for _, p := range plans {
		full, err := b.build(&p.full)
		if err != nil {
			t.Fatal(err)
		}
		if (full.Gates != nil) != (p.full.graph != "") || len(full.Warnings) > 0 {
			t.Errorf("%s: %d gates, warnings %v", p.name, len(full.Gates), full.Warnings)
		}
		for _, o := range append([]wayOf{{name: "all", variants: []string{p.most}}}, p.ways...) {
			m, err := b.buildWay(p, o)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Bases()) != len(o.variants)+extra(o) || m.NoCascades == o.search || (m.Gates != nil) != o.gate {
				t.Errorf("%s, %s: %v, gates %v", p.name, o.name, m.Bases(), m.Gates)
			}
		}
	}
}

// TestPartFollowsVariants takes times and answers of a larger package by name.
func TestPartFollowsVariants(t *testing.T) {
	b := &bench{options: options{models: "../../models", work: t.TempDir()}}
	p := plans[1]
	full, err := b.build(&p.full)
	if err != nil {
		t.Fatal(err)
	}
	of, answers := &modelpkg.Profile{}, &modelpkg.Samples{Variants: map[string]modelpkg.VariantSamples{}}
	for i, v := range full.Variants {
		of.Variants = append(of.Variants, modelpkg.VariantProfile{Name: v.Name, Batches: []modelpkg.BatchProfile{{Items: 1 + i}}})
		answers.Variants[v.Name] = modelpkg.VariantSamples{Predicted: []int{i}}
	}
	m, err := b.buildWay(p, wayOf{name: "two", variants: []string{"narrow_1", "all_4"}})
	if err != nil {
		t.Fatal(err)
	}
	timed, samples, err := part(m, of, answers)
	if err != nil {
		t.Fatal(err)
	}
	if timed.Variants[0].Batches[0].Items != 6 || timed.Variants[1].Batches[0].Items != 1 || samples.Variants["narrow_1"].Predicted[0] != 5 || len(samples.Variants) != 2 {
		t.Errorf("times %+v, answers %+v", timed.Variants, samples.Variants)
	}
	if len(answers.Variants) != 6 || len(of.Variants) != 6 {
		t.Error("the whole was changed")
	}
}

func TestSectionIsReplaced(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("before\n<!-- begin samples -->\nold\n<!-- end samples -->\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := put(page, "samples", "new\n"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(page); string(got) != "before\n<!-- begin samples -->\n\nnew\n\n<!-- end samples -->\nafter\n" {
		t.Errorf("page:\n%s", got)
	}
	if err := put(page, "others", "new"); err == nil {
		t.Error("a page without the markers was written")
	}
}

// extra is how many variants the gate's network adds.
func extra(o wayOf) int {
	if o.gate || o.network {
		return 1
	}
	return 0
}

func TestRateIsTheMedian(t *testing.T) {
	c := cell{got: []outcome{{rate: 4}, {rate: 1}}}
	if c.rate() != 2.5 {
		t.Errorf("the median of two rounds is %v", c.rate())
	}
	c.got = append(c.got, outcome{rate: 2})
	if least, most := c.spread(); c.rate() != 2 || least != 1 || most != 4 {
		t.Errorf("the median of three rounds is %v, from %v to %v", c.rate(), least, most)
	}
}
