package engine

import (
	"time"

	"github.com/mosel-serve/mosel/internal/stats"
	"github.com/mosel-serve/mosel/status"
)

// Plan describes what the model's profile says, and its frontier.
func (l Lease) Plan() status.Plan {
	m, p, planner := l.Model, l.Profile, l.deployment.planner
	s := status.Plan{Model: m.Name, Version: m.Version, Description: m.Description, Device: p.Device, DeviceName: p.DeviceDetail, Dataset: p.Dataset,
		Samples: p.Samples, Metric: p.Metric, Created: p.Created, Points: []status.Point{}}
	frontier := map[int]bool{}
	for _, f := range planner.Frontier(planner.All()) {
		frontier[f.Route] = true
	}
	if all := planner.Agnostic(planner.All()); all >= 0 {
		s.AllMS = perItem(planner.Routes()[all].Curve.PerItem())
	}
	for i, r := range planner.Routes() {
		if r.Inner {
			continue
		}
		point := status.Point{Name: r.Name, Modalities: r.Modalities.Names(m.ModalityNames()), Cascade: r.Next != nil, Accuracy: r.Accuracy.Float(),
			Frontier: frontier[i], PerItemMS: perItem(r.Curve.PerItem())}
		if i < len(planner.Variants()) && i < len(p.Variants) && p.Variants[i].Name == r.Name {
			v := p.Variants[i]
			point.Low, point.High = v.Accuracy.Low, v.Accuracy.High
			for _, b := range v.Batches {
				point.Batches = append(point.Batches, status.BatchTime{Items: b.Items, P50MS: b.P50MS, P95MS: b.P95MS})
			}
		}
		s.Points = append(s.Points, point)
	}
	return s
}

func perItem(ns float64) float64 { return stats.Milliseconds(time.Duration(ns)) }
