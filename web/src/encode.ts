// Requests of the Open Inference Protocol: JSON, and files behind it in binary form.

// Input is one input of a request of one item.
export type Input =
  | { kind: "file"; name: string; file: Blob; fileName: string }
  | { kind: "text"; name: string; text: string }
  | { kind: "numbers"; name: string; datatype: string; shape: number[]; data: number[] };

export type Ask = { model: string; inputs: Input[]; floor: number; deadline: number };

function described(i: Input): object {
  switch (i.kind) {
    case "file":
      return { name: i.name, shape: [1], datatype: "BYTES", parameters: { binary_data_size: 4 + i.file.size } };
    case "text":
      return { name: i.name, shape: [1], datatype: "BYTES", data: [i.text] };
    case "numbers":
      return { name: i.name, shape: i.shape, datatype: i.datatype, data: i.data };
  }
}

// head is the JSON part of a request.
export function head(ask: Ask): string {
  const parameters: Record<string, number> = {};
  if (ask.floor > 0) parameters.min_accuracy = ask.floor;
  if (ask.deadline > 0) parameters.deadline_ms = ask.deadline;
  // Files come last, in the order of their inputs.
  const inputs = [...ask.inputs].sort((a, b) => Number(a.kind === "file") - Number(b.kind === "file"));
  return JSON.stringify({ inputs: inputs.map(described), parameters });
}

export const files = (ask: Ask) => ask.inputs.filter((i) => i.kind === "file");

// length is that of a file as it stands before it: four bytes, little endian.
export function length(n: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, n, true);
  return bytes;
}

export function body(ask: Ask): { body: BodyInit; headers: Record<string, string> } {
  const json = new TextEncoder().encode(head(ask));
  const parts: BlobPart[] = [json];
  for (const f of files(ask)) parts.push(length(f.file.size), f.file);
  if (parts.length === 1) return { body: json, headers: { "Content-Type": "application/json" } };
  return { body: new Blob(parts), headers: { "Content-Type": "application/octet-stream", "Inference-Header-Content-Length": String(json.length) } };
}

// wav encodes samples between -1 and 1 as a recording of 16 bits and one channel.
export function wav(samples: Float32Array, rate: number): Blob {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at: number, s: string) => [...s].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((s, i) => view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, s))), true));
  return new Blob([view.buffer], { type: "audio/wav" });
}

// numbers reads numbers that are separated by commas, spaces or brackets.
export function numbers(text: string): number[] {
  const words = text.split(/[\s,;[\]]+/).filter(Boolean);
  const values = words.map((w) => (w === "true" ? 1 : w === "false" ? 0 : Number(w)));
  const wrong = values.findIndex((v) => !Number.isFinite(v));
  if (wrong >= 0) throw new Error(`"${words[wrong]}" is no number`);
  return values;
}
