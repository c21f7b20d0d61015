// What is wrong with a server, and what to do. Every problem is derived from the status.
import { accuracy, percent, total } from "./format";
import type { Status } from "./types";

export type Problem = { level: "red" | "amber"; text: string; todo: string };

const onTimeRed = 0.95;
const onTimeAmber = 0.99;
const queueFull = 0.8;
const slow = 1.25; // times the profile, as in mosel status
const jobsMin = 20; // below that, a share says little

export function problems(s: Status): Problem[] {
  const list: Problem[] = [];
  const red = (text: string, todo: string) => list.push({ level: "red", text, todo });
  const amber = (text: string, todo: string) => list.push({ level: "amber", text, todo });
  if (s.server.draining) red("The server is stopping: it refuses new requests.", "Send requests to another server, or start it again.");
  else if (!s.server.ready) red("The server is not ready.", "Wait until its models are loaded. If it stays so, its log says why.");
  if (s.server.tokens_stale) amber(`The tokens file cannot be used: ${s.server.tokens_stale}.`, "Correct the file. Until then the earlier tokens stay valid.");
  if (!s.models?.some((m) => m.state === "ready")) red("No model is served.", "Put a model package into the model directory. The server loads it within seconds.");
  for (const i of s.instances ?? []) {
    if (!i.up) red(`Instance ${i.id} is down.`, "Its log has the reason. Work goes to the other instances.");
  }
  if (s.queue.items_max && s.queue.items > queueFull * s.queue.items_max) red("The queue is almost full.", "Requests will be refused. Lower the load, or add instances.");
  for (const m of s.models ?? []) modelProblems(m, red, amber);
  return list.sort((a, b) => Number(a.level === "amber") - Number(b.level === "amber"));
}

type Tell = (text: string, todo: string) => void;

function modelProblems(m: NonNullable<Status["models"]>[number], red: Tell, amber: Tell): void {
  if (m.state !== "ready") {
    red(`${m.name} is not served${m.detail ? `: ${m.detail}` : "."}`, "Run mosel check on its package, then load it on its page.");
    return;
  }
  if (m.detail) amber(`${m.name}: ${m.detail}`, "The version that was loaded before is still served.");
  const jobs = total(m.recent.jobs);
  const share = m.recent.jobs.on_time / Math.max(1, jobs);
  if (jobs >= jobsMin && share < onTimeAmber) {
    const tell = share < onTimeRed ? red : amber;
    tell(`${m.name}: only ${percent(share)} of the recent requests were on time.`, "See the refusals by reason below. Lower floors or longer deadlines let the server choose cheaper variants; otherwise add instances or send less.");
  }
  if (m.recent.jobs.failed > 0) red(`${m.name}: ${m.recent.jobs.failed} recent requests failed.`, "The server's log has the errors of the graphs.");
  if (m.drift?.changed) {
    const lowered = m.drift.variants.filter((v) => v.planned < v.profile);
    const which = lowered.map((v) => `${v.name} is planned with ${accuracy(v.planned)} in place of ${accuracy(v.profile)}`).join("; ");
    red(`${m.name}: the requests are no longer like the samples of its profile${which ? `: ${which}` : "."}`, "Label recent requests and profile the model with them, or train it again.");
  }
  const slower = m.variants.filter((v) => v.recent_items > 0 && v.time_scale > slow);
  if (slower.length) {
    const list = slower.map((v) => `${v.name} ${v.time_scale.toFixed(1)} times`).join(", ");
    amber(`${m.name} is slower than its profile: ${list}.`, "The server plans with the times of now. Other programs may use the processor. If it stays so, run mosel profile on this machine.");
  }
}
