// The inputs of a request: drawing, recording, typing, files and numbers.
import { useEffect, useRef, useState } from "preact/hooks";
import { type Input, numbers, wav } from "./encode";
import sevenImage from "./samples/seven.png";
import sevenSound from "./samples/seven.wav";
import threeImage from "./samples/three.png";
import threeSound from "./samples/three.wav";

// Field is an input as the model's metadata describes it.
export type Field = { name: string; datatype: string; shape: number[]; media?: string; files?: string };

type Props = { field: Field; example: boolean; onInput(i: Input | undefined): void };

export function InputField(p: Props) {
  switch (p.field.media) {
    case "image":
      return <Picture {...p} />;
    case "audio":
      return <Sound {...p} />;
    case "text":
      return <Words {...p} />;
  }
  return p.field.datatype === "BYTES" ? <Words {...p} /> : <Numbers {...p} />;
}

function Pick({ label, accept, onFile }: { label: string; accept: string; onFile(f: File): void }) {
  const box = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" onClick={() => box.current?.click()}>
        {label}
      </button>
      <input
        ref={box}
        type="file"
        accept={accept}
        aria-label={label}
        class="sr"
        tabIndex={-1}
        onChange={(e) => {
          const file = e.currentTarget.files?.[0];
          if (file) onFile(file);
          e.currentTarget.value = "";
        }}
      />
    </>
  );
}

const canvasSize = 280;
const stroke = 22; // about as thick as in the model's samples, of 28 pixels

function Picture({ field, example, onInput }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const drawing = useRef(false);
  const [file, setFile] = useState("");
  const name = field.name;

  const pen = () => canvas.current!.getContext("2d")!;
  function clear() {
    pen().fillStyle = "#000";
    pen().fillRect(0, 0, canvasSize, canvasSize);
  }
  useEffect(clear, []);
  function use(f: Blob, fileName: string) {
    setFile(fileName);
    onInput({ kind: "file", name, file: f, fileName });
  }
  async function show(f: Blob, fileName: string) {
    clear();
    try {
      const bitmap = await createImageBitmap(f);
      const scale = Math.min(canvasSize / bitmap.width, canvasSize / bitmap.height);
      const [w, h] = [bitmap.width * scale, bitmap.height * scale];
      pen().drawImage(bitmap, (canvasSize - w) / 2, (canvasSize - h) / 2, w, h);
    } catch {
      // not a picture that the browser knows; the server says what it thinks of it
    }
    use(f, fileName);
  }
  function move(e: PointerEvent, begin: boolean) {
    if (!begin && !drawing.current) return;
    const box = canvas.current!.getBoundingClientRect();
    const at: [number, number] = [((e.clientX - box.left) * canvasSize) / box.width, ((e.clientY - box.top) * canvasSize) / box.height];
    const c = pen();
    if (begin) {
      canvas.current!.setPointerCapture(e.pointerId);
      drawing.current = true;
      if (file !== "drawing.png") clear();
      Object.assign(c, { lineWidth: stroke, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
      c.beginPath();
      c.moveTo(...at);
    }
    c.lineTo(...at);
    c.stroke();
  }
  function end() {
    if (!drawing.current) return;
    drawing.current = false;
    canvas.current!.toBlob((b) => b && use(b, "drawing.png"), "image/png");
  }
  return (
    <div class="field">
      <canvas
        ref={canvas}
        width={canvasSize}
        height={canvasSize}
        role="img"
        aria-label={file ? `The picture ${file}` : "Draw here with a pointer, or pick a picture"}
        onPointerDown={(e) => move(e, true)}
        onPointerMove={(e) => move(e, false)}
        onPointerUp={end}
        onPointerCancel={end}
      />
      <div class="row">
        <Pick label="Pick a picture" accept="image/png,image/jpeg,image/webp" onFile={(f) => show(f, f.name)} />
        {example && <Examples of="picture" files={{ "seven.png": sevenImage, "three.png": threeImage }} onFile={show} />}
        <button type="button" onClick={() => (clear(), setFile(""), onInput(undefined))}>
          Clear
        </button>
      </div>
      <Chosen file={file} hint="Draw with a mouse, a pen or a finger." />
    </div>
  );
}

function Examples({ of, files, onFile }: { of: string; files: Record<string, string>; onFile(f: Blob, name: string): void }) {
  return (
    <>
      {Object.entries(files).map(([name, url]) => (
        <button key={name} type="button" aria-label={`Use the ${of} ${name}`} onClick={async () => onFile(await (await fetch(url)).blob(), name)}>
          {name.split(".")[0]}
        </button>
      ))}
    </>
  );
}

function Chosen({ file, hint }: { file: string; hint: string }) {
  return <p class="note">{file ? `Sends ${file}.` : hint}</p>;
}

const recordMax = 10_000; // ms

function Sound({ field, example, onInput }: Props) {
  const [file, setFile] = useState("");
  const [url, setURL] = useState("");
  const [error, setError] = useState("");
  const [stop, setStop] = useState<() => void>();
  useEffect(() => () => URL.revokeObjectURL(url), [url]);
  function use(f: Blob, fileName: string) {
    setError("");
    setFile(fileName);
    setURL(URL.createObjectURL(f));
    onInput({ kind: "file", name: field.name, file: f, fileName });
  }
  async function record() {
    setError("");
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const recorder = new MediaRecorder(stream);
      const parts: Blob[] = [];
      const timer = setTimeout(() => recorder.stop(), recordMax);
      recorder.ondataavailable = (e) => parts.push(e.data);
      recorder.onstop = async () => {
        clearTimeout(timer);
        for (const t of stream.getTracks()) t.stop();
        setStop(undefined);
        const context = new AudioContext();
        try {
          const sound = await context.decodeAudioData(await new Blob(parts).arrayBuffer());
          use(wav(sound.getChannelData(0), sound.sampleRate), "recording.wav");
        } catch {
          setError("The recording is empty.");
        } finally {
          void context.close();
        }
      };
      recorder.start();
      setStop(() => () => recorder.stop());
    } catch (e) {
      setError(navigator.mediaDevices ? `No microphone: ${(e as Error).message}` : "A browser records only on https or localhost.");
    }
  }
  return (
    <div class="field">
      {url && <audio controls src={url} aria-label={`The sound ${file}`} />}
      <div class="row">
        <button type="button" onClick={stop ?? record}>
          {stop ? "Stop" : "Record"}
        </button>
        <Pick label="Pick a sound" accept=".wav,.flac,audio/wav,audio/flac" onFile={(f) => use(f, f.name)} />
        {example && <Examples of="sound" files={{ "seven.wav": sevenSound, "three.wav": threeSound }} onFile={use} />}
        <button type="button" onClick={() => (setFile(""), setURL(""), onInput(undefined))}>
          Clear
        </button>
      </div>
      {error && (
        <p class="problem red" role="alert">
          {error}
        </p>
      )}
      <Chosen file={file} hint={stop ? "Recording, at most 10 seconds." : "WAV or FLAC."} />
    </div>
  );
}

function Words({ field, example, onInput }: Props) {
  const max = field.datatype === "UINT8" ? field.shape.at(-1) : undefined;
  return (
    <div class="field">
      <label>
        <span class="note">{example ? "The digit's word, with or without typing errors" : "Text"}</span>
        <input
          type="text"
          autocomplete="off"
          maxLength={max && max > 0 ? max : undefined}
          placeholder={example ? "sevne" : ""}
          onInput={(e) => onInput(e.currentTarget.value ? { kind: "text", name: field.name, text: e.currentTarget.value } : undefined)}
        />
      </label>
    </div>
  );
}

function Numbers({ field, onInput }: Props) {
  const item = field.shape.slice(1);
  const open = item.filter((n) => n < 0).length;
  const fixed = item.filter((n) => n >= 0).reduce((a, b) => a * b, 1);
  const [error, setError] = useState("");
  const [text, setText] = useState("");
  function change(to: string) {
    setText(to);
    setError("");
    if (!to.trim()) return onInput(undefined);
    try {
      const data = numbers(to);
      const rest = data.length / fixed;
      if (open ? !Number.isInteger(rest) || open > 1 : rest !== 1) throw new Error(`${data.length} numbers; the shape is ${item.join(" × ")}`);
      onInput({ kind: "numbers", name: field.name, datatype: field.datatype, shape: [1, ...item.map((n) => (n < 0 ? rest : n))], data });
    } catch (e) {
      setError((e as Error).message);
      onInput(undefined);
    }
  }
  return (
    <div class="field">
      <label>
        <span class="note">
          {field.name}: {field.datatype}, {item.length ? item.map((n) => (n < 0 ? "any" : n)).join(" × ") : "one number"}
        </span>
        <textarea rows={3} value={text} onInput={(e) => change(e.currentTarget.value)} aria-invalid={!!error} />
      </label>
      {!open && (
        <div class="row">
          <button type="button" onClick={() => change(Array(fixed).fill(0).join(" "))}>
            Fill with zeros
          </button>
          <button type="button" onClick={() => change(Array.from({ length: fixed }, () => (["FP16", "FP32", "FP64"].includes(field.datatype) ? Math.random().toFixed(3) : Math.round(Math.random()))).join(" "))}>
            Fill at random
          </button>
        </div>
      )}
      {error && (
        <p class="problem amber" role="alert">
          {error}
        </p>
      )}
    </div>
  );
}
