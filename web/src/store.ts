// What the pages know of the server, shared by all of them.
import { useEffect, useState } from "preact/hooks";
import { type ApiError, follow } from "./api";
import type { Sample, Status } from "./types";

export type Connection = "connecting" | "live" | "lost";

export type Known = { status?: Status; samples: Sample[]; connection: Connection; error?: ApiError };

const samplesMax = 180; // 15 minutes, as many as the server remembers

let known: Known = { samples: [], connection: "connecting" };
const listeners = new Set<() => void>();

function change(to: Partial<Known>): void {
  known = { ...known, ...to };
  for (const tell of listeners) tell();
}

// withSample adds a sample in the order of time. If the server's clock went back, what
// seems to be in the future is dropped.
export function withSample(samples: Sample[], s: Sample): Sample[] {
  const end = Date.parse(s.end);
  const rest = samples.filter((x) => Date.parse(x.end) < end);
  return [...rest, s].slice(-samplesMax);
}

let stop: (() => void) | undefined;

// connect follows the server anew, after signing in for example.
export function connect(): void {
  stop?.();
  change({ connection: "connecting", error: undefined });
  stop = follow({
    status: (status) => change({ status }),
    sample: (s) => change({ samples: withSample(known.samples, s) }),
    state: (state, error) => {
      if (state !== known.connection || error !== known.error) change({ connection: state, error });
    },
  });
}

// forget drops what is known, after signing out.
export function forget(): void {
  change({ status: undefined, samples: [] });
}

export function useServer(): Known {
  const [, redraw] = useState(0);
  useEffect(() => {
    const tell = () => redraw((n) => n + 1);
    listeners.add(tell);
    tell();
    return () => void listeners.delete(tell);
  }, []);
  return known;
}
