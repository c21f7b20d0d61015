import { useMemo, useState } from "preact/hooks";
import { ApiError, change, plan, repository, type RepositoryEntry } from "./api";
import { Chart, type Line } from "./chart";
import { accuracy, ms, num, percent, total } from "./format";
import { errorText, useLoad } from "./load";
import type { Known } from "./store";
import { Failed } from "./try";
import type { Model, Plan } from "./types";

export function Models({ known }: { known: Known }) {
  const [changed, setChanged] = useState(0);
  const states = (known.status?.models ?? []).map((m) => `${m.name} ${m.version} ${m.state}`).join();
  const list = useLoad(repository, [changed, states]);
  return (
    <>
      <h1>Models</h1>
      {list.error && <Failed error={list.error} />}
      {list.value?.length === 0 && <p class="card">The server's model directory has no packages. Put one there; the server loads it within seconds.</p>}
      {list.value && list.value.length > 0 && (
        <section class="card">
          <div class="scroll" tabIndex={0} role="group" aria-label="Table of models">
            <table>
              <thead>
                <tr>
                  <th>model</th>
                  <th>version</th>
                  <th>state</th>
                  <th>administer</th>
                </tr>
              </thead>
              <tbody>
                {list.value.map((e) => (
                  <tr key={`${e.name} ${e.version}`}>
                    <th scope="row">
                      <a href={`#/models/${encodeURIComponent(e.name)}`}>{e.name}</a>
                    </th>
                    <td>{e.version ?? ""}</td>
                    <td>
                      <span class={`tag ${e.state === "READY" ? "good" : "amber"}`}>{e.state.toLowerCase()}</span>
                      <div class="note">{e.reason}</div>
                    </td>
                    <td>
                      <Administer entry={e} onDone={() => setChanged((n) => n + 1)} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </section>
      )}
    </>
  );
}

// Administer loads and unloads a model. Unloading asks first.
function Administer({ entry, onDone }: { entry: RepositoryEntry; onDone(): void }) {
  const [sure, setSure] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError>();
  async function act(what: "load" | "unload") {
    setBusy(true);
    setError(undefined);
    setSure(false);
    try {
      await change(entry.name, what);
    } catch (e) {
      setError(e instanceof ApiError ? e : new ApiError(0, String(e)));
    } finally {
      setBusy(false);
      onDone();
    }
  }
  return (
    <div class="row">
      <button type="button" disabled={busy} onClick={() => act("load")} aria-label={`Load ${entry.name}`}>
        Load
      </button>
      {entry.state === "READY" && !sure && (
        <button type="button" disabled={busy} onClick={() => setSure(true)} aria-label={`Unload ${entry.name}`}>
          Unload
        </button>
      )}
      {sure && (
        <>
          <button type="button" class="danger" onClick={() => act("unload")}>
            Unload {entry.name}, requests will be refused
          </button>
          <button type="button" onClick={() => setSure(false)}>
            Cancel
          </button>
        </>
      )}
      {busy && (
        <span role="status" class="note">
          Working.
        </span>
      )}
      {error && (
        <p class="problem red" role="alert">
          {errorText(error)}
        </p>
      )}
    </div>
  );
}

export function ModelPage({ name, known }: { name: string; known: Known }) {
  const live = (known.status?.models ?? []).filter((m) => m.name === name && m.state === "ready");
  const versions = live.map((m) => m.version);
  const [version, setVersion] = useState("");
  const found = useLoad(() => plan(name, version), [name, version, versions.join()]);
  const served = live.find((m) => m.version === (found.value?.version ?? version));
  return (
    <>
      <div class="title">
        <h1>{name}</h1>
        {versions.length > 1 && (
          <label>
            Version{" "}
            <select value={version} onChange={(e) => setVersion(e.currentTarget.value)}>
              <option value="">newest</option>
              {versions.map((v) => (
                <option key={v}>{v}</option>
              ))}
            </select>
          </label>
        )}
        <p class="note">
          <a href={`#/try/${encodeURIComponent(name)}`}>Try it</a> · <a href="#/models">all models</a>
        </p>
      </div>
      {found.error && <Failed error={found.error} />}
      {!found.error && !found.value && <p class="card note">Loading the model.</p>}
      {found.value && <Facts plan={found.value} live={served} />}
      {found.value && <Frontier plan={found.value} live={served} />}
      {found.value && <Variants plan={found.value} live={served} />}
    </>
  );
}

function Facts({ plan, live }: { plan: Plan; live?: Model }) {
  return (
    <section class="card">
      {plan.description && <p>{plan.description}</p>}
      <dl class="facts">
        <dt>version</dt>
        <dd>{plan.version}</dd>
        <dt>profile</dt>
        <dd>
          {plan.device_name || plan.device}, {num(plan.samples)} labelled samples, {new Date(plan.created).toLocaleDateString("en-GB")}
          {plan.metric && `, ${plan.metric}`}
        </dd>
        {live && (
          <>
            <dt>requests</dt>
            <dd>
              {num(total(live.jobs))} since the server has started{total(live.recent.jobs) > 0 && `, ${percent(live.recent.jobs.on_time / total(live.recent.jobs))} of the recent ones on time`}
            </dd>
          </>
        )}
      </dl>
    </section>
  );
}

// frontier has the points by time per item: those that nothing beats are joined by a line,
// and those that ran recently have a larger mark.
function frontier(plan: Plan, live?: Model) {
  const points = [...plan.points].filter((p) => p.per_item_ms > 0).sort((a, b) => a.per_item_ms - b.per_item_ms);
  const recent = new Map((live?.variants ?? []).map((v) => [v.name, v.recent_items]));
  const pick = (test: (p: Plan["points"][number]) => boolean) => points.map((p) => (test(p) ? p.accuracy : null));
  const best = points.filter((p) => p.frontier);
  const line = points.map((p) => (p.frontier ? p.accuracy : between(best, p.per_item_ms)));
  const lines: Line[] = [
    { label: "frontier", color: 0, kind: "line", values: line },
    { label: "other", color: 7, kind: "points", size: 7, values: pick((p) => !p.frontier) },
    { label: "on the frontier", color: 0, kind: "points", size: 9, values: pick((p) => p.frontier) },
    { label: "in use now", color: 1, kind: "points", size: 13, values: pick((p) => (recent.get(p.name) ?? 0) > 0) },
  ];
  const low = Math.min(...points.map((p) => p.accuracy));
  return { x: points.map((p) => p.per_item_ms), lines, range: [Math.max(0, low - 0.1 * (1.05 - low)), 1.005] as [number, number], best };
}

// between is where the line of the frontier is at a time, so that uPlot draws no gaps.
function between(best: Plan["points"], at: number): number | null {
  const after = best.findIndex((p) => p.per_item_ms > at);
  if (after <= 0) return null;
  const [a, b] = [best[after - 1], best[after]];
  const share = Math.log(at / a.per_item_ms) / Math.log(b.per_item_ms / a.per_item_ms);
  return a.accuracy + share * (b.accuracy - a.accuracy);
}

function Frontier({ plan, live }: { plan: Plan; live?: Model }) {
  const used = (live?.variants ?? []).filter((v) => v.recent_items > 0).map((v) => v.name);
  const data = useMemo(() => frontier(plan, live), [plan, used.join()]);
  const latency = useMemo(() => latencies(plan), [plan]);
  return (
    <section class="charts" aria-label="Profile">
      <Chart
        title="Accuracy and time per item"
        summary={data.best.map((p) => `${p.name}: ${accuracy(p.accuracy)} in ${ms(p.per_item_ms)}`).join("; ")}
        x={data.x}
        lines={data.lines}
        format={(v) => v.toFixed(3)}
        formatX={(v) => ms(v)}
        xLabel="time per item, in its best batches"
        range={data.range}
        logX
        height={300}
      />
      <Chart title="Time of a batch, median" summary="The table below has the times of one item." x={latency.x} lines={latency.lines} format={(v) => ms(v)} formatX={(v) => num(v)} xLabel="items in the batch" log logX height={300} />
    </section>
  );
}

function latencies(plan: Plan): { x: number[]; lines: Line[] } {
  const measured = plan.points.filter((p) => p.batches?.length);
  const x = [...new Set(measured.flatMap((p) => p.batches!.map((b) => b.items)))].sort((a, b) => a - b);
  const lines = measured.map((p, i): Line => ({ label: p.name, color: i, kind: i >= 8 ? "dash" : "line", values: x.map((n) => p.batches!.find((b) => b.items === n)?.p50_ms ?? null) }));
  return { x, lines };
}

function Variants({ plan, live }: { plan: Plan; live?: Model }) {
  const now = new Map((live?.variants ?? []).map((v) => [v.name, v]));
  const drift = new Map((live?.drift?.variants ?? []).map((v) => [v.name, v]));
  const recent = (live?.variants ?? []).reduce((n, v) => n + v.recent_items, 0);
  const points = [...plan.points].sort((a, b) => a.per_item_ms - b.per_item_ms);
  return (
    <section class="card" aria-labelledby="variants">
      <h2 id="variants">Variants and cascades</h2>
      <div class="scroll" tabIndex={0} role="group" aria-label="Table of variants">
        <table>
          <thead>
            <tr>
              <th>name</th>
              <th>modalities</th>
              <th class="n">accuracy</th>
              <th class="n">95 % interval</th>
              <th class="n">planned with</th>
              <th class="n">time per item</th>
              <th class="n">alone, profile</th>
              <th class="n">alone, now</th>
              <th class="n">× profile</th>
              <th class="n">recent mix</th>
            </tr>
          </thead>
          <tbody>
            {points.map((p) => {
              const v = now.get(p.name);
              const d = drift.get(p.name);
              return (
                <tr key={p.name}>
                  <th scope="row">
                    {p.name} {p.frontier && <span class="tag good">frontier</span>}
                    {p.cascade && <span class="tag">cascade</span>}
                  </th>
                  <td>{p.modalities.join(", ")}</td>
                  <td class="n">{accuracy(p.accuracy)}</td>
                  <td class="n">{p.high ? `${accuracy(p.low)}–${accuracy(p.high)}` : "–"}</td>
                  <td class="n">{d && d.planned < d.profile ? <span class="tag red">{accuracy(d.planned)}</span> : p.cascade ? "–" : accuracy(d?.planned ?? p.accuracy)}</td>
                  <td class="n">{ms(p.per_item_ms)}</td>
                  <td class="n">{p.batches?.length ? ms(p.batches[0].p50_ms) : "–"}</td>
                  <td class="n">{v ? ms(v.item_ms) : "–"}</td>
                  <td class="n">{v ? v.time_scale.toFixed(2) : "–"}</td>
                  <td class="n">{v && recent ? percent(v.recent_items / recent) : "–"}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      {plan.all_ms > 0 && <p class="note">A server that always runs all modalities needs {ms(plan.all_ms)} per item. Items of cascades are counted for the variants that ran.</p>}
      {!live && <p class="note">Live times need a caller with role admin, and a model that is loaded.</p>}
    </section>
  );
}
