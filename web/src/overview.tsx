import { useMemo, useState } from "preact/hooks";
import { Chart } from "./chart";
import { accuracy, clock, duration, ms, num, percent, short, total } from "./format";
import { type Problem, problems } from "./problems";
import { series, type Series } from "./series";
import type { Known } from "./store";
import type { Decision, Instance, Model, Status } from "./types";

// reasonTexts say what a reason means and what helps.
const reasonTexts: Record<string, string> = {
  queue_full: "the queue was full: send less, or raise --queue-items",
  too_busy: "even the cheapest choice above the floor would have been late: lower floors, longer deadlines or more instances help",
  deadline_passed: "the deadline passed while they waited",
  floor_impossible: "no variant reaches the floor with the modalities that were sent",
  no_variant: "no variant runs on the modalities that were sent",
  client_cancelled: "the client left",
  runtime_failed: "the graph failed: see the server's log",
  instance_lost: "their instances were lost",
  draining: "the server was stopping",
  yielded: "they made room for a client with less work in the queue",
  drift: "answers score less than the profile says, and nothing reaches the floor by what was measured",
  server_away: "another server that runs the variant was away",
};

export function Overview({ known }: { known: Known }) {
  const { status, samples } = known;
  const [only, setOnly] = useState("");
  const models = status?.models ?? [];
  const data = useMemo(() => series(samples, models, (m) => !only || m.name === only), [samples, models.length, only]);
  if (!status) return <Waiting known={known} />;
  const names = [...new Set(models.map((m) => m.name))];
  return (
    <>
      <div class="title">
        <h1>Overview</h1>
        {names.length > 1 && (
          <label>
            Model{" "}
            <select value={only} onChange={(e) => setOnly(e.currentTarget.value)}>
              <option value="">all</option>
              {names.map((n) => (
                <option key={n}>{n}</option>
              ))}
            </select>
          </label>
        )}
        <p class="note">
          mosel {status.server.version} · policy {status.server.policy} · up {duration(status.server.uptime_s)}
        </p>
      </div>
      <Health list={problems(status)} />
      <Tiles data={data} status={status} />
      <Charts data={data} />
      <ModelTable models={models.filter((m) => !only || m.name === only)} />
      <div class="columns">
        <Refusals data={data} />
        <Instances list={status.instances ?? []} />
      </div>
      <Decisions list={(status.decisions ?? []).filter((d) => !only || d.model === only)} />
    </>
  );
}

export function Waiting({ known }: { known: Known }) {
  return (
    <p class="card note" role="status">
      {known.connection === "lost" ? `No connection to the server. ${known.error?.message ?? ""} Trying again.` : "Connecting to the server."}
    </p>
  );
}

function Health({ list }: { list: Problem[] }) {
  return (
    <section class="health" aria-label="Health" role="status">
      {list.length === 0 && <p class="problem good">No problems.</p>}
      {list.map((p) => (
        <p key={p.text} class={`problem ${p.level}`}>
          <strong>
            <span class="sr">{p.level === "red" ? "Problem: " : "Warning: "}</span>
            {p.text}
          </strong>{" "}
          {p.todo}
        </p>
      ))}
    </section>
  );
}

function Tile(p: { name: string; value: string; note?: string }) {
  return (
    <div class="card tile">
      <dt>{p.name}</dt>
      <dd>{p.value}</dd>
      <dd class="note">{p.note}</dd>
    </div>
  );
}

function Tiles({ data, status }: { data: Series; status: Status }) {
  const { last } = data;
  return (
    <dl class="tiles" aria-label="Now">
      <Tile name="Throughput" value={`${short(last.answered)}/s`} note="items answered, last 5 s" />
      <Tile name="On time" value={percent(last.onTime)} note="of requests, last minute" />
      <Tile name="Expected accuracy" value={accuracy(last.accuracy)} note={last.floor ? `mean floor ${accuracy(last.floor)}` : "no floors"} />
      <Tile name="99 % below" value={ms(last.p99)} note={`median ${ms(last.p50)}`} />
      <Tile name="Queue" value={num(status.queue.items)} note={`items wait, about ${ms(status.queue.waiting_ms)} of work`} />
      <Tile name="Instances busy" value={percent(last.busy, 0)} note="last 5 s" />
    </dl>
  );
}

function Charts({ data }: { data: Series }) {
  const share = (v: number) => percent(v, 0);
  return (
    <section class="charts" aria-label="The last 15 minutes">
      <Chart title="Throughput, items per second" summary={`${short(data.last.answered)} items per second now.`} x={data.x} lines={data.throughput} format={short} time />
      <Chart title="Modalities that ran, share of the items" summary={data.mix.map((l) => l.label).join(", ")} x={data.x} lines={data.mix} format={share} range={[0, 1]} time />
      <Chart
        title="Expected accuracy and floors"
        summary={`Expected ${accuracy(data.last.accuracy)}, mean floor ${accuracy(data.last.floor)}.`}
        x={data.x}
        lines={data.accuracy}
        format={(v) => v.toFixed(3)}
        range={data.accuracyRange}
        time
      />
      <Chart title="Time from arrival to answer, ms" summary={`Median ${ms(data.last.p50)}, 99 % below ${ms(data.last.p99)}.`} x={data.x} lines={data.latency} format={short} time />
      <Chart title="Queue, items" summary={`${data.last.queued} items wait.`} x={data.x} lines={data.queue} format={short} height={140} time />
      <Chart title="Instances busy" summary={`${percent(data.last.busy, 0)} busy.`} x={data.x} lines={data.load} format={share} range={[0, 1]} height={140} time />
    </section>
  );
}

// measuredOf joins what labels say of a model's variants.
function measuredOf(m: Model): string {
  let items = 0;
  let right = 0;
  for (const v of m.feedback?.variants ?? []) {
    const f = v.sampled?.items ? v.sampled : v.selected;
    if (!f?.items) continue;
    items += f.items;
    right += f.items * f.accuracy;
  }
  return items ? `${accuracy(right / items)} on ${num(items)}` : "no labels";
}

function ModelTable({ models }: { models: Model[] }) {
  if (!models.length) return null;
  return (
    <section class="card" aria-labelledby="models">
      <h2 id="models">Models</h2>
      <div class="scroll" tabIndex={0} role="group" aria-label="Table of models">
        <table>
          <thead>
            <tr>
              <th>model</th>
              <th class="n">requests</th>
              <th class="n">on time</th>
              <th class="n">expected accuracy</th>
              <th class="n">measured, by labels</th>
              <th class="n">99 % below</th>
              <th>drift</th>
            </tr>
          </thead>
          <tbody>
            {models.map((m) => (
              <tr key={`${m.name} ${m.version}`}>
                <th scope="row">
                  <a href={`#/models/${encodeURIComponent(m.name)}`}>{m.name}</a> <span class="note">{m.version}</span>
                  {m.state !== "ready" && <span class="tag red">{m.state}</span>}
                </th>
                <td class="n">{num(total(m.recent.jobs))}</td>
                <td class="n">{total(m.recent.jobs) ? percent(m.recent.jobs.on_time / total(m.recent.jobs)) : "–"}</td>
                <td class="n">{m.recent.accuracy ? accuracy(m.recent.accuracy) : "–"}</td>
                <td class="n">{measuredOf(m)}</td>
                <td class="n">{m.recent.total.count ? ms(m.recent.total.p99_ms) : "–"}</td>
                <td>{driftOf(m)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="note">Requests of the last 30 to 60 seconds.</p>
    </section>
  );
}

function driftOf(m: Model) {
  if (!m.drift) return <span class="note">not watched</span>;
  return m.drift.changed ? <span class="tag red">changed</span> : <span class="tag good">none noticed</span>;
}

function Refusals({ data }: { data: Series }) {
  const all = total(data.outcomes);
  return (
    <section class="card" aria-labelledby="refusals">
      <h2 id="refusals">Requests that did not run</h2>
      {data.reasons.length === 0 ? (
        <p class="note">None of {num(all)} in the last 15 minutes.</p>
      ) : (
        <table>
          <thead>
            <tr>
              <th>reason</th>
              <th class="n">requests</th>
              <th class="n">share</th>
            </tr>
          </thead>
          <tbody>
            {data.reasons.map(([reason, n]) => (
              <tr key={reason}>
                <th scope="row">
                  {reason.replaceAll("_", " ")}
                  <div class="note">{reasonTexts[reason]}</div>
                </th>
                <td class="n">{num(n)}</td>
                <td class="n">{percent(n / Math.max(1, all))}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

function Instances({ list }: { list: Instance[] }) {
  return (
    <section class="card" aria-labelledby="instances">
      <h2 id="instances">Instances</h2>
      {list.length === 0 && <p class="note">None.</p>}
      {list.length > 0 && (
        <table>
          <thead>
            <tr>
              <th>instance</th>
              <th class="n">busy</th>
              <th>runs now</th>
            </tr>
          </thead>
          <tbody>
            {list.map((i) => (
              <tr key={i.id}>
                <th scope="row">
                  {i.id} {i.up ? "" : <span class="tag red">down</span>}
                  {i.losses > 0 && <span class="note"> lost {i.losses} times</span>}
                </th>
                <td class="n">{percent(i.busy_share, 0)}</td>
                <td>{i.running.length ? i.running.map((r) => `${r.items} × ${r.model} ${r.variant}`).join(", ") : <span class="note">idle</span>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

const decisionsShown = 10;

function Decisions({ list }: { list: Decision[] }) {
  const [all, setAll] = useState(false);
  const shown = all ? list : list.slice(0, decisionsShown);
  return (
    <section class="card" aria-labelledby="decisions">
      <h2 id="decisions">Latest decisions</h2>
      {list.length === 0 && <p class="note">No batch has run yet.</p>}
      {list.length > 0 && (
        <div class="scroll" tabIndex={0} role="group" aria-label="Table of decisions">
          <table class="decisions">
            <thead>
              <tr>
                <th>time</th>
                <th>ran</th>
                <th class="n">items</th>
                <th class="n">took</th>
                <th>why</th>
              </tr>
            </thead>
            <tbody>
              {shown.map((d) => (
                <tr key={d.batch}>
                  <td>{clock(d.started)}</td>
                  <td>
                    {d.variant} <span class="note">{d.model}</span>
                  </td>
                  <td class="n">{d.items}</td>
                  <td class="n">{d.measured_ms ? ms(d.measured_ms) : d.state}</td>
                  <td>{d.why}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {list.length > decisionsShown && (
        <button type="button" onClick={() => setAll(!all)} aria-expanded={all}>
          {all ? "Show fewer" : `Show all ${list.length}`}
        </button>
      )}
    </section>
  );
}
