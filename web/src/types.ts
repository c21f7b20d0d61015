// What the server sends; the Go package status documents every field.
export type Outcomes = { on_time: number; late: number; shed: number; infeasible: number; cancelled: number; failed: number };

export type ModelSample = {
  name: string;
  version: string;
  items: Outcomes;
  jobs: Outcomes;
  accuracy?: number;
  floor?: number;
  p50_ms: number;
  p99_ms: number;
  variants?: Record<string, number>;
  reasons?: Record<string, number>;
};

export type Sample = { end: string; seconds: number; queued_items: number; busy_share: number; models: ModelSample[] };

export type Latency = { count: number; mean_ms: number; p50_ms: number; p95_ms: number; p99_ms: number };

export type Variant = {
  name: string;
  modalities: string[];
  precision?: string;
  accuracy: number;
  item_ms: number;
  time_scale: number;
  items: number;
  recent_items: number;
  failures: number;
};

export type Evidence = { items: number; promised: number; mean: number; low: number; high: number; lowered: boolean; alarms: number };

export type Drift = {
  on_drift: string;
  changed: boolean;
  reference: string;
  variants: { name: string; profile: number; planned: number; labels?: Evidence; shadows?: Evidence }[];
  hints?: string[];
};

export type Measured = { items: number; accuracy: number; low: number; high: number; promised: number; promised_low: number };

export type Model = {
  name: string;
  version: string;
  state: string;
  detail?: string;
  modalities: string[];
  variants: Variant[];
  queued_items: number;
  running_items: number;
  unfinished_jobs: number;
  items: Outcomes;
  jobs: Outcomes;
  reasons?: Record<string, number>;
  accuracy: number;
  recent: { items: Outcomes; jobs: Outcomes; accuracy: number; queue: Latency; compute: Latency; total: Latency; batches: { count: number; mean_items: number; max_items: number } };
  drift?: Drift;
  feedback?: { variants: { name: string; sampled?: Measured; selected?: Measured }[] };
};

export type Instance = {
  id: number;
  up: boolean;
  slots: number;
  running: { batch: number; model: string; variant: string; items: number; for_ms: number; predicted_ms: number }[];
  busy_share: number;
  losses: number;
};

export type Decision = {
  batch: number;
  started: string;
  instance: number;
  model: string;
  version: string;
  variant: string;
  items: number;
  predicted_ms: number;
  measured_ms: number;
  state: string;
  why: string;
};

export type Status = {
  server: {
    name: string;
    version: string;
    policy: string;
    ready: boolean;
    draining: boolean;
    now: string;
    uptime_s: number;
    recent_s: number;
    tokens_stale?: string;
  };
  queue: { items: number; running: number; jobs: number; bytes: number; items_max: number; jobs_max: number; bytes_max: number; clients: number; waiting_ms: number };
  models: Model[] | null;
  instances: Instance[] | null;
  clients: { name: string; jobs: number; items: number }[];
  decisions: Decision[] | null;
};

export type Option = { variant: string; items: number; accuracy: number; predicted_ms: number; late_items: number; chosen: boolean };

export type Explanation = {
  job: string;
  request?: string;
  client?: string;
  model: string;
  version: string;
  items: number;
  modalities: string[] | null;
  choice?: string[];
  floor: number;
  accuracy_confidence?: number;
  deadline_ms?: number;
  late: string;
  arrived: string;
  started_ms?: number;
  ended_ms?: number;
  compute_ms: number;
  outcome: string;
  reason: string;
  summary: string;
  accuracy?: number;
  accuracy_low?: number;
  slack_ms?: number;
  retry_after_ms?: number;
  best?: number;
  cascades?: { name: string; threshold?: number; items: number; went_on: number }[];
  batches: (Decision & { started_ms: number; job_items: number; options?: Option[]; queued_items: number })[];
  batches_left_out: number;
  alternatives: { variant: string; modalities: string[]; accuracy: number; runnable: boolean; meets_floor: boolean; predicted_ms: number; items: number; cascade?: boolean; why: string }[] | null;
};

export type Requests = {
  client_id: string;
  total: number;
  requests: { job: string; client?: string; model: string; version: string; items: number; arrived: string; outcome: string }[];
};

export type ModelMetadata = {
  name: string;
  versions?: string[];
  inputs: { name: string; datatype: string; shape: number[] }[];
  outputs: { name: string; datatype: string; shape: number[] }[];
  properties?: Record<string, string>;
};

export type Plan = {
  model: string;
  version: string;
  description?: string;
  device: string;
  device_name: string;
  dataset: string;
  samples: number;
  metric?: string;
  created: string;
  points: { name: string; modalities: string[]; cascade: boolean; accuracy: number; low: number; high: number; frontier: boolean; per_item_ms: number; batches?: { items: number; p50_ms: number; p95_ms: number }[] }[];
  all_ms: number;
};

export type Tensor = { name: string; shape: number[]; datatype: string; data: unknown[] };
export type Answer = { model_name: string; model_version: string; parameters: Record<string, string | number | boolean>; outputs: Tensor[] };
