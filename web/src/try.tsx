import { useEffect, useMemo, useState } from "preact/hooks";
import { ApiError, call, explain, metadata, models, token } from "./api";
import { type Language, code, languages } from "./code";
import { type Ask, body, type Input } from "./encode";
import { Alternatives } from "./explain";
import { accuracy, ms, num, percent } from "./format";
import { type Field, InputField } from "./inputs";
import { errorText, useLoad } from "./load";
import type { Answer, Explanation, ModelMetadata, Tensor } from "./types";

const example = "digits"; // the model inside the program; its samples are in the pages

export function Try({ model, again }: { model?: string; again: unknown }) {
  const list = useLoad(models, [again]);
  if (list.error) return <Failed error={list.error} />;
  if (!list.value) return <p class="card note">Loading the models.</p>;
  if (!list.value.length)
    return (
      <section class="card">
        <h1>Try it</h1>
        <p>The server has no model. Put a model package into its model directory; the server loads it within seconds.</p>
      </section>
    );
  const chosen = model || (list.value.includes(example) ? example : list.value[0]);
  return (
    <>
      <div class="title">
        <h1>Try it</h1>
        <label>
          Model{" "}
          <select value={chosen} onChange={(e) => (location.hash = `#/try/${encodeURIComponent(e.currentTarget.value)}`)}>
            {list.value.map((m) => (
              <option key={m}>{m}</option>
            ))}
          </select>
        </label>
      </div>
      <ModelForm key={chosen} model={chosen} />
    </>
  );
}

export function Failed({ error }: { error: ApiError }) {
  return (
    <p class="problem red" role="alert">
      {errorText(error)}
    </p>
  );
}

function list(text: string | undefined): string[] {
  return text ? text.split(",") : [];
}

function ModelForm({ model }: { model: string }) {
  const found = useLoad(() => metadata(model), [model]);
  if (found.error) return <Failed error={found.error} />;
  if (!found.value) return <p class="card note">Loading the model.</p>;
  return <Form meta={found.value} />;
}

// deadlines are the steps of the slider, in ms; 0 is none.
const deadlines = [0, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

type Result = { answer?: Answer; error?: ApiError; took: number; why?: Explanation };

function Form({ meta }: { meta: ModelMetadata }) {
  const p = meta.properties ?? {};
  const accuracies = Object.entries(p)
    .filter(([k]) => k.startsWith("accuracy."))
    .map(([, v]) => Number(v));
  const best = accuracies.length ? Math.max(...accuracies) : 1;
  const [inputs, setInputs] = useState<Record<string, Input>>({});
  const [off, setOff] = useState<Record<string, boolean>>({});
  const [floor, setFloor] = useState(Math.floor(900 * best) / 1000);
  const [step, setStep] = useState(6);
  const [busy, setBusy] = useState(false);
  const [result, setResult] = useState<Result>();
  const modalities = list(p.modalities).map((name) => ({ name, fields: list(p[`modality.${name}`]).map((n) => fieldOf(meta, n)) }));
  const sent = modalities.filter((m) => !off[m.name]).flatMap((m) => m.fields.flatMap((f) => (inputs[f.name] ? [inputs[f.name]] : [])));
  const ask: Ask = { model: meta.name, inputs: sent, floor, deadline: deadlines[step] };

  async function send(e: Event) {
    e.preventDefault();
    setBusy(true);
    const began = performance.now();
    try {
      const request = body(ask);
      const response = await call(`/v2/models/${encodeURIComponent(meta.name)}/infer`, { method: "POST", ...request });
      const answer = (await response.json()) as Answer;
      const took = performance.now() - began;
      setResult({ answer, took, why: await explain(String(answer.parameters.job)).catch(() => undefined) });
    } catch (error) {
      const failed = error instanceof ApiError ? error : new ApiError(0, String(error));
      setResult({ error: failed, took: performance.now() - began, why: failed.job ? await explain(failed.job).catch(() => undefined) : undefined });
    } finally {
      setBusy(false);
    }
  }
  return (
    <>
      {p.description && <p class="note">{p.description} Any of the modalities may be left out.</p>}
      <form class="tryit" onSubmit={send}>
        <div class="modalities">
          {modalities.map((m) => (
            <fieldset key={m.name} class="card">
              <legend>
                <label>
                  <input type="checkbox" checked={!off[m.name]} onChange={(e) => setOff({ ...off, [m.name]: !e.currentTarget.checked })} /> {m.name}
                </label>
              </legend>
              <div hidden={off[m.name]}>
                {m.fields.map((f) => (
                  <InputField key={f.name} field={f} example={meta.name === example} onInput={(i) => setInputs((old) => withInput(old, f.name, i))} />
                ))}
              </div>
            </fieldset>
          ))}
        </div>
        <div class="card objective">
          <label>
            <span class="pair">
              Accuracy floor <span class="value">{floor ? floor.toFixed(3) : "none"}</span>
            </span>
            <input type="range" min="0" max={Math.ceil(best * 1000) / 1000} step="0.001" value={floor} onInput={(e) => setFloor(Number(e.currentTarget.value))} aria-valuetext={floor ? floor.toFixed(3) : "none"} />
          </label>
          <label>
            <span class="pair">
              Deadline <span class="value">{deadlines[step] ? `${deadlines[step]} ms` : "none"}</span>
            </span>
            <input type="range" min="0" max={deadlines.length - 1} value={step} onInput={(e) => setStep(Number(e.currentTarget.value))} aria-valuetext={deadlines[step] ? `${deadlines[step]} milliseconds` : "none"} />
          </label>
          <button type="submit" class="primary" disabled={busy || !sent.length}>
            {busy ? "Waiting" : "Send"}
          </button>
          {!sent.length && <p class="note">Give at least one input.</p>}
        </div>
      </form>
      <div aria-live="polite">{result && <ResultCard result={result} labels={list(p.labels)} />}</div>
      {sent.length > 0 && <Code ask={ask} />}
    </>
  );
}

function withInput(old: Record<string, Input>, name: string, i: Input | undefined): Record<string, Input> {
  const next = { ...old };
  if (i) next[name] = i;
  else delete next[name];
  return next;
}

function fieldOf(meta: ModelMetadata, name: string): Field {
  const input = meta.inputs.find((i) => i.name === name)!;
  const p = meta.properties ?? {};
  return { ...input, media: p[`media.${name}`], files: p[`files.${name}`] };
}

function ResultCard({ result, labels }: { result: Result; labels: string[] }) {
  const { answer, error, why } = result;
  return (
    <section class="card" aria-labelledby="result">
      <h2 id="result">Answer</h2>
      {error && <Failed error={error} />}
      {answer && (
        <div class="columns">
          <div>
            {answer.outputs.map((o) => (
              <Output key={o.name} output={o} labels={labels} />
            ))}
          </div>
          <Ran answer={answer} took={result.took} />
        </div>
      )}
      {why?.alternatives && (
        <>
          <h3>What other choices would have cost</h3>
          <Alternatives x={why} />
        </>
      )}
      {why && (
        <p>
          <a href={`#/explain/${encodeURIComponent(why.job)}`}>Why the server chose this</a>
        </p>
      )}
      {answer && !why && <p class="note">{token() ? "A token with role admin also shows what other choices would have cost." : ""}</p>}
    </section>
  );
}

function Ran({ answer, took }: { answer: Answer; took: number }) {
  const p = answer.parameters;
  const modalities = String(p.modalities ?? "").split(",").join(", ");
  return (
    <dl class="facts">
      <dt>ran</dt>
      <dd>
        {String(p.variant)} <span class="note">({modalities})</span>
      </dd>
      {p.answered_by !== undefined && (
        <>
          <dt>answered by</dt>
          <dd>{String(p.answered_by)}</dd>
        </>
      )}
      <dt>expected accuracy</dt>
      <dd>{accuracy(Number(p.expected_accuracy))}</dd>
      <dt>computed</dt>
      <dd>{ms(Number(p.compute_us) / 1000)}</dd>
      <dt>waited</dt>
      <dd>{ms(Number(p.queue_us) / 1000)}</dd>
      <dt>in this browser</dt>
      <dd>{ms(took)}</dd>
    </dl>
  );
}

const shownMax = 10;

function Output({ output, labels }: { output: Tensor; labels: string[] }) {
  const values = output.data.flat(9);
  const scores = values.every((v) => typeof v === "number") ? (values as number[]) : undefined;
  if (!scores || scores.length === 1 || labels.length !== scores.length)
    return (
      <p>
        {output.name}: <span class="mono">{values.slice(0, 24).map((v) => (typeof v === "number" ? num(v, 4) : String(v))).join(", ")}{values.length > 24 ? ", …" : ""}</span>
      </p>
    );
  const share = scores.every((v) => v >= 0 && v <= 1);
  const top = scores.map((score, i) => ({ score, label: labels[i] })).sort((a, b) => b.score - a.score);
  return (
    <>
      <p class="winner">
        {top[0].label} <span class="note">{share ? percent(top[0].score) : num(top[0].score, 3)}</span>
      </p>
      <table class="scores">
        <caption class="sr">{output.name}</caption>
        <tbody>
          {top.slice(0, shownMax).map((t) => (
            <tr key={t.label}>
              <th scope="row">{t.label}</th>
              <td>{share && <meter min={0} max={1} value={t.score} aria-label={`${t.label} ${percent(t.score)}`} />}</td>
              <td class="n">{share ? percent(t.score) : num(t.score, 3)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

function Code({ ask }: { ask: Ask }) {
  const [language, setLanguage] = useState<Language>("curl");
  const [copied, setCopied] = useState("");
  const text = useMemo(() => code(ask, language, location.origin, !!token()), [JSON.stringify(ask), language]);
  useEffect(() => setCopied(""), [text]);
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      setCopied("Copied.");
    } catch {
      setCopied("The browser does not allow copying: mark the text.");
    }
  }
  return (
    <section class="card" aria-labelledby="code">
      <h2 id="code">The same request as a program</h2>
      <div class="row" role="group" aria-label="Language">
        {languages.map((l) => (
          <button key={l} type="button" aria-pressed={l === language} onClick={() => setLanguage(l)}>
            {l}
          </button>
        ))}
        <button type="button" onClick={copy}>
          Copy
        </button>
        <span role="status" class="note">
          {copied}
        </span>
      </div>
      <pre tabIndex={0} aria-label={`Program in ${language}`}>
        {text}
      </pre>
      {ask.inputs.some((i) => i.kind === "file") && (
        <p class="note row">
          Its files:
          {ask.inputs.map((i) => i.kind === "file" && <Save key={i.name} file={i.file} name={i.fileName} />)}
        </p>
      )}
    </section>
  );
}

function Save({ file, name }: { file: Blob; name: string }) {
  const [url, setURL] = useState("");
  useEffect(() => {
    const made = URL.createObjectURL(file);
    setURL(made);
    return () => URL.revokeObjectURL(made);
  }, [file]);
  return (
    <a href={url} download={name}>
      {name}
    </a>
  );
}
