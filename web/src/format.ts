// Numbers and times for people.
import type { Outcomes } from "./types";

const none = "–";

export function num(x: number | undefined, digits = 0): string {
  return x === undefined || !Number.isFinite(x) ? none : x.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

export function short(x: number | undefined): string {
  if (x === undefined || !Number.isFinite(x)) return none;
  if (x >= 10000) return x.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
  return num(x, x < 10 && x !== Math.round(x) ? 1 : 0);
}

export function percent(x: number | undefined, digits = 1): string {
  return x === undefined || !Number.isFinite(x) ? none : `${num(100 * x, digits)} %`;
}

// accuracy is between 0 and 1, with four digits as in the profile.
export function accuracy(x: number | undefined): string {
  return x === undefined || !Number.isFinite(x) ? none : x.toFixed(4);
}

export function ms(x: number | undefined): string {
  if (x === undefined || !Number.isFinite(x)) return none;
  if (x >= 60000) return `${num(x / 60000, 1)} min`;
  if (x >= 10000) return `${num(x / 1000, 1)} s`;
  return `${num(x, x < 1 ? 2 : x < 100 ? 1 : 0)} ms`;
}

export function duration(s: number): string {
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.round((s % 86400) / 3600)} h`;
}

export function clock(t: string): string {
  return new Date(t).toLocaleTimeString("en-GB");
}

export function total(o: Outcomes): number {
  return o.on_time + o.late + o.shed + o.infeasible + o.cancelled + o.failed;
}

export function add(a: Outcomes, b: Outcomes): Outcomes {
  return {
    on_time: a.on_time + b.on_time,
    late: a.late + b.late,
    shed: a.shed + b.shed,
    infeasible: a.infeasible + b.infeasible,
    cancelled: a.cancelled + b.cancelled,
    failed: a.failed + b.failed,
  };
}

export const nothing: Outcomes = { on_time: 0, late: 0, shed: 0, infeasible: 0, cancelled: 0, failed: 0 };

// modalitySet names a set of modalities, such as "image + text".
export function modalitySet(names: string[]): string {
  return names.join(" + ");
}
