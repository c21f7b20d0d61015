// Calls of the server's public API. The token lives in the session storage of this tab.
import { createParser } from "eventsource-parser";
import type { Explanation, ModelMetadata, Plan, Requests, Sample, Status } from "./types";

const tokenKey = "mosel-token";

export function token(): string {
  return sessionStorage.getItem(tokenKey) ?? "";
}

export function setToken(value: string): void {
  if (value) sessionStorage.setItem(tokenKey, value);
  else sessionStorage.removeItem(tokenKey);
}

// ApiError is an answer with an error, or no answer (status 0).
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly job = "",
  ) {
    super(message);
  }
}

export async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (token()) headers.set("Authorization", `Bearer ${token()}`);
  let answer: Response;
  try {
    answer = await fetch(path, { ...init, headers, cache: "no-store", redirect: "error" });
  } catch (e) {
    if (e instanceof DOMException && e.name === "AbortError") throw e;
    throw new ApiError(0, "The server does not answer.");
  }
  if (answer.ok) return answer;
  const text = await answer.text();
  let message = text || answer.statusText;
  let job = answer.headers.get("x-mosel-job") ?? "";
  try {
    const body = JSON.parse(text);
    message = body.error ?? message;
    job = body.job ?? job;
  } catch {
    // not JSON: a proxy's own page
  }
  throw new ApiError(answer.status, message, job);
}

async function get<T>(path: string): Promise<T> {
  return (await call(path)).json() as Promise<T>;
}

const at = encodeURIComponent;

export const models = async () => (await get<{ models: string[] }>("/v2/models")).models;
export const metadata = (model: string) => get<ModelMetadata>(`/v2/models/${at(model)}`);
export const plan = (model: string, version = "") => get<Plan>(`/v1/models/${at(model)}${version ? `/versions/${at(version)}` : ""}`);
export const explain = (id: string) => get<Explanation>(`/v1/explain/${at(id)}`);
export const requests = (clientID: string) => get<Requests>(`/v1/explain?client_id=${at(clientID)}`);
export const change = (model: string, what: "load" | "unload") => call(`/v2/repository/models/${at(model)}/${what}`, { method: "POST" });

export type RepositoryEntry = { name: string; version?: string; state: string; reason?: string };
export const repository = async () => (await call("/v2/repository/index", { method: "POST" })).json() as Promise<RepositoryEntry[]>;

// Stream is what follow reports.
export type Stream = {
  status(s: Status): void;
  sample(s: Sample): void;
  // state is "live", or why there are no events.
  state(state: "live" | "lost", error?: ApiError): void;
};

const silentMax = 6000; // ms; the server sends something every second
const retryMin = 1000;
const retryMax = 5000;

// follow reads /v1/status/events until the returned function is called. It comes back
// after every interruption and asks for the samples that it has missed. It rests while
// nobody sees the page.
export function follow(to: Stream): () => void {
  let stopped = false;
  let last = "";
  let abort: AbortController | undefined;
  let wait = retryMin;
  let timer: ReturnType<typeof setTimeout> | undefined;

  async function read(signal: AbortSignal): Promise<void> {
    const answer = await call("/v1/status/events", { signal, headers: last ? { "Last-Event-ID": last } : {} });
    const parser = createParser({
      onEvent(e) {
        if (e.event === "sample") {
          to.sample(JSON.parse(e.data) as Sample);
          last = e.id ?? last;
        } else if (e.event === "status") {
          to.status(JSON.parse(e.data) as Status);
          to.state("live");
          wait = retryMin;
        }
      },
    });
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const silence = setTimeout(() => abort?.abort(), silentMax);
      const { done, value } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      parser.feed(value);
    }
  }

  async function run(): Promise<void> {
    if (stopped || document.hidden) return;
    abort = new AbortController();
    try {
      await read(abort.signal);
      to.state("lost");
    } catch (e) {
      if (!stopped && !document.hidden) to.state("lost", e instanceof ApiError ? e : undefined);
      if (e instanceof ApiError && (e.status === 401 || e.status === 403)) return; // until somebody signs in
    }
    abort = undefined;
    if (!stopped && !document.hidden) {
      timer = setTimeout(run, wait);
      wait = Math.min(2 * wait, retryMax);
    }
  }

  function seen(): void {
    if (document.hidden) {
      clearTimeout(timer);
      abort?.abort();
    } else if (!abort || abort.signal.aborted) {
      clearTimeout(timer);
      timer = setTimeout(run, 0);
    }
  }
  document.addEventListener("visibilitychange", seen);
  void run();
  return () => {
    stopped = true;
    clearTimeout(timer);
    abort?.abort();
    document.removeEventListener("visibilitychange", seen);
  };
}
