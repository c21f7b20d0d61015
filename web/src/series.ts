// Series for the charts of the overview, from the server's samples.
import { type Line, stacked } from "./chart";
import { add, modalitySet, nothing, total } from "./format";
import type { Model, ModelSample, Outcomes, Sample } from "./types";

export type Chosen = (m: ModelSample) => boolean;

export type Series = {
  x: number[];
  throughput: Line[];
  accuracy: Line[];
  accuracyRange: [number, number];
  latency: Line[];
  mix: Line[];
  load: Line[];
  queue: Line[];
  outcomes: Outcomes; // of requests, in all samples
  reasons: [string, number][];
  last: { answered: number; accuracy?: number; floor?: number; p50?: number; p99?: number; queued: number; busy: number; onTime?: number };
};

type Weighted = { sum: number; weight: number };

function mean(w: Weighted): number | null {
  return w.weight > 0 ? w.sum / w.weight : null;
}

// summary joins what several models did in one interval.
function summary(models: ModelSample[]) {
  let items = nothing;
  let jobs = nothing;
  const accuracy = { sum: 0, weight: 0 };
  const floor = { sum: 0, weight: 0 };
  let p50 = 0;
  let p99 = 0;
  for (const m of models) {
    items = add(items, m.items);
    jobs = add(jobs, m.jobs);
    const ran = m.items.on_time + m.items.late;
    if (m.accuracy !== undefined) {
      accuracy.sum += m.accuracy * ran;
      accuracy.weight += ran;
      floor.sum += (m.floor ?? 0) * ran;
      floor.weight += ran;
      p50 = Math.max(p50, m.p50_ms);
      p99 = Math.max(p99, m.p99_ms);
    }
  }
  return { items, jobs, accuracy: mean(accuracy), floor: mean(floor), p50: p50 || null, p99: p99 || null };
}

export function series(samples: Sample[], models: Model[], chosen: Chosen): Series {
  const x = samples.map((s) => Date.parse(s.end) / 1000);
  const of = samples.map((s) => s.models.filter(chosen));
  const sums = of.map(summary);
  const rate = (n: number, i: number) => n / samples[i].seconds;
  const sets = mixes(of, models);
  const accuracies = sums.flatMap((s) => [s.accuracy, s.floor]).filter((v): v is number => v !== null && v > 0);
  const low = accuracies.length ? Math.min(...accuracies) : 0;
  const reasons = new Map<string, number>();
  for (const m of of.flat()) for (const [r, n] of Object.entries(m.reasons ?? {})) reasons.set(r, (reasons.get(r) ?? 0) + n);
  const last = sums.at(-1);
  const recent = sums.slice(-12).reduce((o, s) => add(o, s.jobs), nothing);
  return {
    x,
    throughput: [
      { label: "on time", color: 0, kind: "line", values: sums.map((s, i) => rate(s.items.on_time, i)) },
      { label: "late", color: 1, kind: "line", values: sums.map((s, i) => rate(s.items.late, i)) },
      { label: "not run", color: 3, kind: "line", values: sums.map((s, i) => rate(total(s.items) - s.items.on_time - s.items.late, i)) },
    ],
    accuracy: [
      { label: "expected", color: 0, values: sums.map((s) => s.accuracy) },
      { label: "floor, mean", color: 3, kind: "dash", values: sums.map((s) => s.floor) },
    ],
    accuracyRange: [Math.max(0, low - 0.05 * (1.02 - low) - 0.01), 1.005],
    latency: [
      { label: "median", color: 0, values: sums.map((s) => s.p50) },
      { label: "99 %", color: 1, values: sums.map((s) => s.p99) },
    ],
    mix: sets,
    load: [{ label: "instances busy", color: 2, kind: "area", values: samples.map((s) => s.busy_share) }],
    queue: [{ label: "waiting items", color: 4, kind: "area", values: samples.map((s) => s.queued_items) }],
    outcomes: sums.reduce((o, s) => add(o, s.jobs), nothing),
    reasons: [...reasons].sort((a, b) => b[1] - a[1]),
    last: {
      answered: last ? rate(last.items.on_time + last.items.late, samples.length - 1) : 0,
      accuracy: last?.accuracy ?? undefined,
      floor: last?.floor ?? undefined,
      p50: last?.p50 ?? undefined,
      p99: last?.p99 ?? undefined,
      queued: samples.at(-1)?.queued_items ?? 0,
      busy: samples.at(-1)?.busy_share ?? 0,
      onTime: total(recent) ? recent.on_time / total(recent) : undefined,
    },
  };
}

// mixes is the share of the items that ran with each set of modalities.
function mixes(of: ModelSample[][], models: Model[]): Line[] {
  const setOf = new Map<string, string>();
  for (const m of models) for (const v of m.variants) setOf.set(`${m.name}/${v.name}`, modalitySet(v.modalities));
  const counts = of.map((list) => {
    const count = new Map<string, number>();
    for (const m of list) {
      for (const [v, n] of Object.entries(m.variants ?? {})) {
        const set = setOf.get(`${m.name}/${v}`) ?? v;
        count.set(set, (count.get(set) ?? 0) + n);
      }
    }
    return count;
  });
  const sets = [...new Set([...setOf.values(), ...counts.flatMap((c) => [...c.keys()])])].sort((a, b) => a.split("+").length - b.split("+").length || a.localeCompare(b));
  const used = sets.filter((set) => counts.some((c) => c.has(set)));
  const all = counts.map((c) => [...c.values()].reduce((a, b) => a + b, 0));
  const lines = used.map((set): Line => ({ label: set, color: sets.indexOf(set), values: counts.map((c, i) => (all[i] ? (c.get(set) ?? 0) / all[i] : null)) }));
  return stacked(lines);
}
