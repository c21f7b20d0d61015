"""Measure every shipped graph: accuracy on both labelled sets, and processor time per sample on one thread.

Processor time, not the clock: one thread's work is what a variant costs, whatever else the machine is doing.
Writes results.json and the table between the markers of README.md.
"""

import json
import math
import pathlib
import platform
import re
import sys
import time

import numpy as np
import onnxruntime

BATCHES = (1, 8, 16, 32)
SECONDS = 1.5  # per graph and batch size
SETS = ("profile", "heldout")
ORDER = ("text", "image", "image_text", "audio", "audio_text", "audio_image", "all", "all_int8")


def wilson(right, count, z=1.96):
    """The 95 % interval of a share."""
    p = right / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return [round(middle - half, 4), round(middle + half, 4)]


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def accuracy(graph, samples):
    names = [i.name for i in graph.get_inputs()]
    count, right = len(samples["label"]), 0
    for i in range(0, count, 16):
        answer = graph.run(None, {n: samples[n][i : i + 16] for n in names})[0].argmax(1)
        right += int((answer == samples["label"][i : i + 16]).sum())
    return {"accuracy": round(right / count, 4), "interval": wilson(right, count), "samples": count}


def cost(graph, samples, batch):
    """The median processor time per sample, in ms, over batches of real samples."""
    names = [i.name for i in graph.get_inputs()]
    feed = {n: samples[n][:batch] for n in names}
    graph.run(None, feed)
    times, until = [], time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(times) < 5:
        began = time.thread_time()
        graph.run(None, feed)
        times.append(time.thread_time() - began)
    return round(1000 * float(np.median(times)) / batch, 3)


def table(results):
    head = ["variant", "profile accuracy", "held-out accuracy", *(f"ms, batch {b}" for b in BATCHES)]
    rows = [head, ["---", "---", "---", *("---:" for _ in BATCHES)]]
    for name, r in results["variants"].items():
        share = lambda s: f"{r[s]['accuracy']:.4f} ({r[s]['interval'][0]:.3f} to {r[s]['interval'][1]:.3f})"
        rows.append([f"`{name}`", share("profile"), share("heldout"), *(f"{r['ms'][str(b)]:.2f}" for b in BATCHES)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def processor():
    found = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.processor()


def main(folder):
    folder, here = pathlib.Path(folder), pathlib.Path(__file__).parent
    samples = {s: dict(np.load(folder / "eval" / f"{s}.npz")) for s in SETS}
    results = {"onnxruntime": onnxruntime.__version__, "processor": processor(), "threads": 1, "variants": {}}
    for name in ORDER:
        path = folder / "onnx" / f"{name}.onnx"
        if not path.exists():
            continue
        graph = session(path)
        found = {s: accuracy(graph, samples[s]) for s in SETS}
        found["ms"] = {str(b): cost(graph, samples["profile"], b) for b in BATCHES}
        results["variants"][name] = found
        print(name, found, flush=True)
    (here / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    readme = here / "README.md"
    text = f"<!-- table -->\n{table(results)}\n<!-- end -->"
    readme.write_text(re.sub(r"<!-- table -->.*<!-- end -->", lambda _: text, readme.read_text(), flags=re.S))


if __name__ == "__main__":
    main(sys.argv[1])
