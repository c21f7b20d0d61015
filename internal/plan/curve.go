package plan

import (
	"fmt"
	"time"
)

// Curve holds the time of one batch of b items, for every b from 1 to the largest
// batch, and, derived from it, the least time of x items when they are divided into
// batches in the best way. The zero Curve is not usable; see NewCurve.
type Curve struct {
	batch []time.Duration // batch[b], b = 0..max; batch[0] = 0
	split []time.Duration // split[x] = least time for x items, x = 0..tableMax
	first []int           // first[x] = size of the batch with which to begin, x = 0..tableMax
	best  int             // the batch size with the least time per item
}

// Point is one measured batch: its size and its time.
type Point struct {
	Items int
	Time  time.Duration
}

// NewCurve makes a curve from measurements in ascending order of size, the
// first of size 1. Sizes between two measurements are interpolated linearly.
// Sizes and times must be positive.
func NewCurve(points []Point) (Curve, error) {
	if len(points) == 0 || points[0].Items != 1 {
		return Curve{}, fmt.Errorf("a latency curve starts at a batch of 1 item")
	}
	last := points[len(points)-1].Items
	if last > batchItemsMax {
		return Curve{}, fmt.Errorf("batch of %d items exceeds %d", last, batchItemsMax)
	}
	batch := make([]time.Duration, 1, last+1)
	for i, p := range points {
		if p.Time <= 0 {
			return Curve{}, fmt.Errorf("a batch of %d items takes %v: not positive", p.Items, p.Time)
		}
		if i > 0 {
			prev := points[i-1]
			if p.Items <= prev.Items {
				return Curve{}, fmt.Errorf("batch sizes %d, %d do not ascend", prev.Items, p.Items)
			}
			for b := prev.Items + 1; b < p.Items; b++ {
				step := time.Duration(b-prev.Items) * (p.Time - prev.Time) / time.Duration(p.Items-prev.Items)
				batch = append(batch, prev.Time+step)
			}
		}
		batch = append(batch, p.Time)
	}
	c := Curve{batch: batch, best: bestBatch(batch)}
	c.split = splitTable(batch, c.best)
	c.first = firstTable(batch, c.split, c.best)
	return c, nil
}

// batchItemsMax bounds the curve's tables: the split table has up to its square
// entries.
const batchItemsMax = 512

// bestBatch returns the size with the least time per item, the larger among equals.
func bestBatch(batch []time.Duration) int {
	best := 1
	for b := 2; b < len(batch); b++ {
		if int64(batch[b])*int64(best) <= int64(batch[best])*int64(b) {
			best = b
		}
	}
	return best
}

// splitTable computes the exact least time for x items, as far as needed. Among any
// `best` batches of other sizes, some have a total divisible by `best` (pigeonhole on
// prefix sums), and these are no cheaper than batches of the best size. So some optimum
// has fewer than `best` other batches, and beyond (best-1) x max items only batches of
// the best size are added.
func splitTable(batch []time.Duration, best int) []time.Duration {
	maxBatch := len(batch) - 1
	split := make([]time.Duration, max((best-1)*maxBatch, maxBatch)+1)
	for x := 1; x < len(split); x++ {
		split[x] = batch[1] + split[x-1]
		for b := 2; b <= min(x, maxBatch); b++ {
			split[x] = min(split[x], batch[b]+split[x-b])
		}
	}
	return split
}

// firstTable computes with which batch of an optimal division of x items to begin: with
// one of the best size, if the division has one, because items that arrive later may fill
// the others; else with the largest.
func firstTable(batch, split []time.Duration, best int) []int {
	first := make([]int, len(split))
	for x := 1; x < len(split); x++ {
		if best <= x && split[x] == batch[best]+split[x-best] {
			first[x] = best
			continue
		}
		for b := min(x, len(batch)-1); first[x] == 0; b-- {
			if split[x] == batch[b]+split[x-b] {
				first[x] = b
			}
		}
	}
	return first
}

// Max is the largest batch.
func (c Curve) Max() int { return len(c.batch) - 1 }

// Batch is the time of one batch of b items, 0 <= b <= Max.
func (c Curve) Batch(b int) time.Duration { return c.batch[b] }

// BestBatch is the batch size with the least time per item.
func (c Curve) BestBatch() int { return c.best }

// First is the size of the batch with which to begin if x >= 1 items wait. No batch of
// that size takes longer than its items in several batches.
func (c Curve) First(x int) int {
	if x < len(c.first) {
		return c.first[x]
	}
	return c.best
}

// UpTo returns the curve of batches of at most most >= 1 items.
func (c Curve) UpTo(most int) Curve {
	if most >= c.Max() {
		return c
	}
	points := make([]Point, most)
	for i := range points {
		points[i] = Point{Items: i + 1, Time: c.Batch(i + 1)}
	}
	shorter, err := NewCurve(points)
	if err != nil {
		panic(err) // its points are those of a curve
	}
	return shorter
}

// PerItem is the least time per item, reached by batches of BestBatch items,
// in nanoseconds.
func (c Curve) PerItem() float64 { return float64(c.batch[c.best]) / float64(c.best) }

// Time is the least time in which x >= 0 items can run one batch after another.
func (c Curve) Time(x int) time.Duration {
	tableMax := len(c.split) - 1
	if x <= tableMax {
		return c.split[x]
	}
	full := (x - tableMax + c.best - 1) / c.best
	return time.Duration(full)*c.batch[c.best] + c.split[x-full*c.best]
}
