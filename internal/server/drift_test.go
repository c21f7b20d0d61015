package server_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/server"
	told "github.com/mosel-serve/mosel/status"
)

// TestDrift inverts the pictures that the real example gets. Shadow runs notice it: the
// server plans with lower accuracies, then refuses the floor that it can no longer keep,
// says why, and still answers without a floor. With the pictures as they were, the
// accuracies recover.
func TestDrift(t *testing.T) {
	const floor, atOnceMax = 0.973, 8
	for _, choice := range []engine.OnDrift{engine.DriftReplan, engine.DriftReport, engine.DriftRefuse} {
		t.Run(choice.String(), func(t *testing.T) {
			s := startServer(t, func(c *server.Config) { c.Shadow, c.OnDrift = 1, choice })
			m, set := heldOut(t)
			c, err := client.New("http://"+s.Addr().String(), client.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			known := func() *told.Drift {
				now, err := c.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return now.Models[0].Drift
			}
			var sent atomic.Int64
			// send sends items until stop says so, or n are sent.
			send := func(inverted bool, minAccuracy float64, n int, stop func(*told.Drift) bool) (refused []error) {
				for range n / atOnceMax {
					errs := make(chan error, atOnceMax)
					for range atOnceMax {
						item := set.Item(int(sent.Add(1)) % set.Len())
						if inverted {
							item = slices.Clone(item)
							item[0] = slices.Clone(item[0])
							for i := range item[0] {
								item[0][i] = 255 - item[0][i]
							}
						}
						q := request(m, item)
						q.MinAccuracy = minAccuracy
						go func() {
							_, err := c.Infer(t.Context(), q)
							errs <- err
						}()
					}
					for range atOnceMax {
						if err := <-errs; err != nil {
							refused = append(refused, err)
						}
					}
					if stop(known()) {
						return refused
					}
				}
				return refused
			}
			if refused := send(false, floor, 200, func(d *told.Drift) bool { return d.Changed }); len(refused) > 0 || known().Changed {
				t.Fatalf("without a shift: refused %v, %+v", refused, known())
			}
			send(true, floor, 2000, func(d *told.Drift) bool { return d.Changed })
			d := known()
			if !d.Changed || d.Reference != "all" {
				t.Fatalf("after 2000 inverted pictures: %+v", d)
			}
			refused := send(true, floor, 400, func(*told.Drift) bool { return false })
			d = known()
			image := d.Variants[slices.IndexFunc(d.Variants, func(v told.VariantDrift) bool { return v.Name == "image_text" })]
			t.Logf("%d refused; %+v; shadows %+v; %+v", len(refused), image, image.Shadows, d.Shadows)
			if image.Shadows == nil || image.Shadows.Mean > 0.9 {
				t.Errorf("image_text agrees in %+v of the runs; its accuracy is 0.83", image.Shadows)
			}
			var e *client.Error
			switch choice {
			case engine.DriftReport:
				if len(refused) > 0 || image.Planned != image.Profile {
					t.Errorf("it should only report: %d refused, planned %v of %v", len(refused), image.Planned, image.Profile)
				}
			case engine.DriftRefuse:
				if len(refused) != 400 {
					t.Errorf("%d of 400 requests with a floor are refused", len(refused))
				}
			case engine.DriftReplan:
				if image.Planned > 0.9 {
					t.Errorf("image_text is planned with %v", image.Planned)
				}
			}
			for _, err := range refused {
				if !errors.As(err, &e) || !strings.Contains(err.Error(), "less than the model's profile says") || e.Status != 422 {
					t.Fatalf("refused with %v", err)
				}
			}
			if refused := send(true, 0, 16, func(*told.Drift) bool { return false }); len(refused) > 0 {
				t.Errorf("refused without a floor: %v", refused)
			}
			send(false, 0, 6000, func(d *told.Drift) bool { return !d.Changed })
			if d := known(); d.Changed {
				t.Errorf("after 6000 pictures as they should be: %+v", d)
			}
			if refused := send(false, floor, 16, func(*told.Drift) bool { return false }); len(refused) > 0 {
				t.Errorf("after the recovery: %v", refused)
			}
		})
	}
}

// heldOut returns the real example and its held-out samples.
func heldOut(t *testing.T) (*modelpkg.Model, *modelpkg.Set) {
	t.Helper()
	m, err := modelpkg.Load("../../models/digits")
	if err != nil {
		t.Fatal(err)
	}
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
	if err != nil {
		t.Fatal(err)
	}
	return m, set
}

