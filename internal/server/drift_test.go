package server_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/drift"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/server"
	told "github.com/mosel-serve/mosel/status"
)

// driftFloor is a floor that image_text keeps, as long as the pictures are as in the
// profile.
const driftFloor = 0.973

// TestDrift inverts the pictures that the real example gets. Shadow runs notice it, and
// what follows is as configured. With the pictures as they were, all recovers, though the requests have a floor.
func TestDrift(t *testing.T) {
	for _, policy := range []drift.Policy{drift.Replan, drift.Report, drift.Refuse} {
		t.Run(policy.String(), func(t *testing.T) {
			d := newDrifting(t, policy)
			if refused := d.send(t, false, driftFloor, 200, d.changed); len(refused) > 0 || d.changed() {
				t.Fatalf("without a shift: refused %v, %+v", refused, d.known())
			}
			d.send(t, true, driftFloor, 2000, d.changed)
			if known := d.known(); !known.Changed {
				t.Fatalf("after 2000 inverted pictures: %+v", known)
			}
			refused := d.send(t, true, driftFloor, 400, never)
			d.checkNoticed(t, policy, refused)
			if refused := d.send(t, true, 0, 16, never); len(refused) > 0 {
				t.Errorf("refused without a floor: %v", refused)
			}
			if policy != drift.Replan {
				return // it recovers in the same way
			}
			// While every request is refused, the shadow runs of refused items still show it.
			d.send(t, false, driftFloor, 400_000, func() bool { return !d.changed() })
			if d.changed() {
				t.Errorf("after 400000 pictures as they should be: %+v", d.known())
			}
			if refused := d.send(t, false, driftFloor, 16, never); len(refused) > 0 {
				t.Errorf("after the recovery: %v", refused)
			}
		})
	}
}

func never() bool { return false }

// drifting is a server of the real example, with its held-out samples.
type drifting struct {
	client *client.Client
	model  *modelpkg.Model
	set    *modelpkg.Set
	sent   int
	known  func() *told.Drift
}

func newDrifting(t *testing.T, policy drift.Policy) *drifting {
	t.Helper()
	s := startServer(t, func(c *server.Config) { c.Shadow, c.OnDrift = 1, policy })
	d := &drifting{}
	var err error
	if d.model, err = modelpkg.Load(digitsDir); err == nil {
		d.set, err = modelpkg.OpenSet(d.model.File(d.model.Evaluation.HeldOut), d.model)
	}
	if err == nil {
		d.client, err = client.New("http://"+s.Addr().String(), client.Options{})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.client.Close)
	d.known = func() *told.Drift {
		now, err := d.client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return now.Models[0].Drift
	}
	return d
}

func (d *drifting) changed() bool { return d.known().Changed }

// send sends n items, some at a time, or fewer if done says so. It returns the errors.
func (d *drifting) send(t *testing.T, inverted bool, floor float64, n int, done func() bool) (refused []error) {
	t.Helper()
	const atATime = 8
	for range n / atATime {
		errs := make(chan error, atATime)
		for range atATime {
			d.sent++
			item := d.set.Item(d.sent % d.set.Len())
			if inverted {
				item = slices.Clone(item)
				item[0] = slices.Clone(item[0])
				for i := range item[0] {
					item[0][i] = 255 - item[0][i]
				}
			}
			q := request(d.model, item)
			q.MinAccuracy = floor
			go func() {
				_, err := d.client.Infer(t.Context(), q)
				errs <- err
			}()
		}
		for range atATime {
			if err := <-errs; err != nil {
				refused = append(refused, err)
			}
		}
		if done() {
			break
		}
	}
	return refused
}

// checkNoticed checks what has followed after 400 more requests with a floor.
func (d *drifting) checkNoticed(t *testing.T, policy drift.Policy, refused []error) {
	t.Helper()
	known := d.known()
	image := known.Variants[slices.IndexFunc(known.Variants, func(v told.VariantDrift) bool { return v.Name == "image_text" })]
	t.Logf("%d refused; %+v; %+v; %+v; %q", len(refused), image, image.Shadows, known.Shadows, known.Hints)
	if image.Shadows == nil || image.Shadows.Mean > 0.9 || !image.Shadows.Lowered {
		t.Errorf("image_text agrees in %+v of the runs; its accuracy is 0.83", image.Shadows)
	}
	if l := image.Live; l == nil || l.Mean > 0.9 || l.Low > 0.83 || l.High < 0.8 {
		t.Errorf("the estimate of its accuracy is %+v", l)
	}
	if policy == drift.Replan {
		d.checkExplained(t, image.Planned)
	}
	switch {
	case policy == drift.Report && (len(refused) > 0 || image.Planned != image.Profile):
		t.Errorf("it should only report: %d refused, planned %v of %v", len(refused), image.Planned, image.Profile)
	case policy == drift.Refuse && len(refused) != 400:
		t.Errorf("%d of 400 requests with a floor are refused", len(refused))
	case policy == drift.Replan && image.Planned > 0.9:
		t.Errorf("image_text is planned with %v", image.Planned)
	}
	for _, err := range refused {
		var e *client.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), "less than the model's profile says") {
			t.Fatalf("refused with %v", err)
		}
	}
}

// checkExplained checks that an explanation says that drift has lowered image_text.
func (d *drifting) checkExplained(t *testing.T, planned float64) {
	t.Helper()
	r, err := d.client.Infer(t.Context(), request(d.model, d.set.Item(0)))
	if err != nil {
		t.Fatal(err)
	}
	e, err := d.client.Explain(t.Context(), r.Job)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(e.Alternatives, func(a told.Alternative) bool { return a.Variant == "image_text" })
	if a := e.Alternatives[i]; a.Profile < 0.98 || a.Accuracy > 0.9 || !strings.HasSuffix(a.Why, "by the profile, lowered by drift") {
		t.Errorf("planned with %v, explained as %+v", planned, a)
	}
}
