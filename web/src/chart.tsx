// Charts by uPlot, in the colours of the page.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

// Line is a series. Its colour is an index into the palette.
export type Line = {
  label: string;
  values: (number | null)[];
  color: number;
  kind?: "line" | "area" | "points" | "dash";
  size?: number; // of points
  shown?: (number | null)[]; // in the legend, if not the values
};

export type Format = (v: number) => string;

type Props = {
  title: string;
  summary: string; // for those who do not see the chart
  x: number[];
  lines: Line[];
  format: Format;
  time?: boolean;
  formatX?: Format;
  xLabel?: string;
  log?: boolean;
  logX?: boolean;
  range?: [number, number];
  height?: number;
};

const palette = 8;
const span = 900; // seconds of a chart over time, as many as the server remembers

function css(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function color(i: number): string {
  return css(`--series-${i % palette}`);
}

function withAlpha(hex: string, alpha: string): string {
  return hex + alpha;
}

// useScheme changes when the reader's system changes between light and dark.
function useScheme(): boolean {
  const [dark, setDark] = useState(matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const query = matchMedia("(prefers-color-scheme: dark)");
    const tell = () => setDark(query.matches);
    query.addEventListener("change", tell);
    return () => query.removeEventListener("change", tell);
  }, []);
  return dark;
}

function options(p: Props, width: number, latest: { current: Line[] }): uPlot.Options {
  const axis = { stroke: css("--muted"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const formatX = p.formatX ?? ((v: number) => String(v));
  return {
    width,
    height: p.height ?? 190,
    scales: {
      x: { time: p.time ?? false, distr: p.logX ? 3 : 1, ...(p.time ? { range: (_u: uPlot, low: number, high: number) => [Math.min(low, high - span), high] as [number, number] } : {}) },
      y: p.log ? { distr: 3 } : { range: p.range ? p.range : (_u, low, high) => [Math.min(0, low ?? 0), (high ?? 0) > 0 ? high * 1.1 : 1] },
    },
    axes: [
      { ...axis, size: 26, label: p.xLabel, labelSize: p.xLabel ? 18 : 0, labelFont: "12px system-ui, sans-serif", space: 60, ...(p.time ? { values: "{HH}:{mm}" } : { values: (_u: uPlot, vs: number[]) => vs.map((v) => (v === null ? "" : formatX(v))) }) },
      { ...axis, size: 66, values: (_u: uPlot, vs: number[]) => vs.map((v) => (v === null ? "" : p.format(v))) },
    ],
    cursor: { points: { size: 6 }, drag: { x: false, y: false } },
    legend: { live: true },
    series: [
      { label: p.time ? "time" : (p.xLabel ?? "x"), value: p.time ? "{HH}:{mm}:{ss}" : (_u, v) => (v === null || v === undefined ? "–" : formatX(v)) },
      ...p.lines.map((l, n) => {
        const stroke = color(l.color);
        return {
          label: l.label,
          stroke,
          width: l.kind === "points" ? 0 : 1.75,
          dash: l.kind === "dash" ? [5, 4] : undefined,
          fill: l.kind === "area" ? withAlpha(stroke, "a6") : undefined,
          paths: l.kind === "points" ? () => null : undefined,
          points: { show: l.kind === "points", size: l.size ?? 8, fill: stroke },
          spanGaps: false,
          value: (_u: uPlot, v: number | null, _s: number, at: number | null) => {
            const own = l.shown && at !== null ? latest.current[n]?.shown?.[at] : v;
            return own === null || own === undefined ? "–" : p.format(own);
          },
        };
      }),
    ],
  };
}

// stacked adds every area to the ones before it, so that areas stand on each other. uPlot
// draws the last series on top, so the sums come in reverse order.
export function stacked(lines: Line[]): Line[] {
  const sums: Line[] = [];
  let below: number[] = [];
  for (const l of lines) {
    const sum = l.values.map((v, i) => (v ?? 0) + (below[i] ?? 0));
    sums.unshift({ ...l, kind: "area", shown: l.values, values: sum.map((s, i) => (l.values[i] === null ? null : s)) });
    below = sum;
  }
  return sums;
}

export function Chart(p: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const latest = useRef(p.lines);
  latest.current = p.lines;
  const dark = useScheme();
  const shape = JSON.stringify([p.lines.map((l) => [l.label, l.color, l.kind, l.size]), p.log, p.logX, p.range, dark]);

  useEffect(() => {
    const at = box.current!;
    plot.current = new uPlot(options(p, at.clientWidth, latest), [p.x, ...p.lines.map((l) => l.values)] as uPlot.AlignedData, at);
    const resize = new ResizeObserver(() => plot.current?.setSize({ width: at.clientWidth, height: p.height ?? 190 }));
    resize.observe(at);
    return () => {
      resize.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [shape]);

  useEffect(() => plot.current?.setData([p.x, ...p.lines.map((l) => l.values)] as uPlot.AlignedData), [p.x, p.lines]);

  return (
    <figure class="card chart">
      <figcaption>{p.title}</figcaption>
      <p class="sr">{p.summary}</p>
      <div ref={box} aria-hidden="true" class={p.x.length ? "" : "blank"} />
      {!p.x.length && <p class="note">No data yet.</p>}
    </figure>
  );
}
