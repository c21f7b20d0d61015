import { useState } from "preact/hooks";
import { explain, requests } from "./api";
import { accuracy, ms, num } from "./format";
import { errorText, useLoad } from "./load";
import type { Explanation, Requests } from "./types";

const server = /^j-[a-z2-7]{26}$/; // an id of the server's own

export function Explain({ id, again }: { id?: string; again: unknown }) {
  const [asked, setAsked] = useState(id ?? "");
  function submit(e: Event) {
    e.preventDefault();
    location.hash = `#/explain/${encodeURIComponent(asked.trim())}`;
  }
  return (
    <>
      <h1>Explain</h1>
      <form class="card row" onSubmit={submit}>
        <label class="grow">
          Request
          <input type="text" value={asked} onInput={(e) => setAsked(e.currentTarget.value)} placeholder="j-… or your own id" autocomplete="off" spellcheck={false} required />
        </label>
        <button type="submit" class="primary">
          Explain
        </button>
      </form>
      {id ? <Found id={id} key={id} again={again} /> : <p class="note">The id is the parameter "job" of an answer, or the header x-mosel-job. The id that the client gave to the request works too.</p>}
    </>
  );
}

type Result = { one?: Explanation; many?: Requests };

async function find(id: string): Promise<Result> {
  if (server.test(id)) return { one: await explain(id) };
  const many = await requests(id);
  return many.requests.length === 1 ? { one: await explain(many.requests[0].job) } : { many };
}

function Found({ id, again }: { id: string; again: unknown }) {
  const found = useLoad(() => find(id), [id, again]);
  if (found.error)
    return (
      <p class="problem red" role="alert">
        {errorText(found.error)}
      </p>
    );
  if (!found.value) return <p class="card note">Looking for the request.</p>;
  return found.value.one ? <Page x={found.value.one} /> : <Many list={found.value.many!} />;
}

function Many({ list }: { list: Requests }) {
  return (
    <section class="card">
      <h2>{list.total} requests have this id</h2>
      <table>
        <thead>
          <tr>
            <th>request</th>
            <th>model</th>
            <th class="n">items</th>
            <th>outcome</th>
          </tr>
        </thead>
        <tbody>
          {list.requests.map((r) => (
            <tr key={r.job}>
              <th scope="row">
                <a href={`#/explain/${r.job}`} class="mono">
                  {r.job}
                </a>
              </th>
              <td>{r.model}</td>
              <td class="n">{r.items}</td>
              <td>{r.outcome.replaceAll("_", " ")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Page({ x }: { x: Explanation }) {
  const good = x.outcome === "on_time";
  return (
    <>
      <section class="card" aria-labelledby="request">
        <h2 id="request">
          Request <span class="mono wrap">{x.job}</span> <span class={`tag ${good ? "good" : x.outcome === "late" ? "amber" : "red"}`}>{x.outcome.replaceAll("_", " ")}</span>
        </h2>
        <p>{x.summary}</p>
        <dl class="facts">
          <dt>model</dt>
          <dd>
            <a href={`#/models/${encodeURIComponent(x.model)}`}>{x.model}</a> {x.version}
          </dd>
          <dt>asked</dt>
          <dd>
            {num(x.items)} {x.items === 1 ? "item" : "items"} with {(x.modalities ?? []).join(", ")}, floor {x.floor ? accuracy(x.floor) : "none"}, deadline {x.deadline_ms === undefined ? "none" : ms(x.deadline_ms)}
            {x.client && `, by ${x.client}`}
            {x.request && `, as ${x.request}`}
          </dd>
          <dt>got</dt>
          <dd>
            {x.accuracy === undefined ? "no answer" : `${accuracy(x.accuracy)} expected accuracy`}
            {x.ended_ms !== undefined && `, after ${ms(x.ended_ms)}`}
            {x.slack_ms !== undefined && (x.slack_ms >= 0 ? `, ${ms(x.slack_ms)} before the deadline` : `, ${ms(-x.slack_ms)} late`)}
          </dd>
          {x.best !== undefined && (
            <>
              <dt>possible</dt>
              <dd>{accuracy(x.best)} at most</dd>
            </>
          )}
        </dl>
      </section>
      {x.batches.length > 0 && <Batches x={x} />}
      {x.alternatives && (
        <section class="card" aria-labelledby="alternatives">
          <h2 id="alternatives">All variants and cascades</h2>
          <Alternatives x={x} />
        </section>
      )}
    </>
  );
}

function Batches({ x }: { x: Explanation }) {
  return (
    <section class="card" aria-labelledby="batches">
      <h2 id="batches">Batches</h2>
      <ol class="batches">
        {x.batches.map((b) => (
          <li key={b.batch}>
            <strong>
              {b.job_items} of {b.items} items on {b.variant}
            </strong>{" "}
            after {ms(b.started_ms)}, {b.measured_ms ? `took ${ms(b.measured_ms)}` : b.state}, predicted {ms(b.predicted_ms)}
            <div class="note">{b.why}</div>
            {b.options && b.options.length > 1 && (
              <div class="scroll" tabIndex={0} role="group" aria-label="Table of options">
                <table>
                  <thead>
                    <tr>
                      <th>could have run</th>
                      <th class="n">items</th>
                      <th class="n">accuracy</th>
                      <th class="n">predicted</th>
                      <th class="n">would be late</th>
                    </tr>
                  </thead>
                  <tbody>
                    {b.options.map((o) => (
                      <tr key={`${o.variant} ${o.items}`} class={o.chosen ? "chosen" : ""}>
                        <th scope="row">
                          {o.variant} {o.chosen && <span class="tag good">chosen</span>}
                        </th>
                        <td class="n">{o.items}</td>
                        <td class="n">{accuracy(o.accuracy)}</td>
                        <td class="n">{ms(o.predicted_ms)}</td>
                        <td class="n">{num(o.late_items, 2)}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            )}
          </li>
        ))}
      </ol>
      {x.batches_left_out > 0 && <p class="note">{x.batches_left_out} more batches are not listed.</p>}
    </section>
  );
}

// Alternatives is the table of all variants, with what the request would cost on each.
export function Alternatives({ x }: { x: Explanation }) {
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label="Table of variants">
      <table class="alternatives">
        <thead>
          <tr>
            <th>variant</th>
            <th>modalities</th>
            <th class="n">accuracy</th>
            <th class="n">time now</th>
            <th>why</th>
          </tr>
        </thead>
        <tbody>
          {(x.alternatives ?? []).map((a) => (
            <tr key={a.variant} class={a.items ? "chosen" : a.runnable ? "" : "off"}>
              <th scope="row">
                {a.variant} {a.items > 0 && <span class="tag good">ran</span>}
              </th>
              <td>{a.modalities.join(", ")}</td>
              <td class="n">{accuracy(a.accuracy)}</td>
              <td class="n">{ms(a.predicted_ms)}</td>
              <td class="note">{a.why}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
