"""Measure every variant of the package: accuracy on both labelled sets and for each vendor, and processor time per sample.

Processor time of one thread, not the clock: what a variant costs, whatever else the machine is doing.
Writes results.json and the table between the markers of README.md.
"""

import json
import math
import pathlib
import re
import sys
import time

import numpy as np
import onnxruntime

import data

SETS = ("profile", "heldout")
BATCHES, REPEATS, LENGTH = (1, 8, 32), 15, 6  # LENGTH: ids of a sample in the timing, the smallest bucket
VARIANTS = {
    "words": ("words", "head_words"),
    "text": ("words", "text", "head_text"),
    "image": ("image", "head_image"),
    "words_image": ("words", "image", "head_words_image"),
    "text_image": ("words", "text", "image", "head_text_image"),
}


def wilson(right, count, z=1.96):
    """The 95 % interval of a share."""
    p = right / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return [round(middle - half, 4), round(middle + half, 4)]


def load(folder):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    names = sorted({s for stages in VARIANTS.values() for s in stages})
    return {n: onnxruntime.InferenceSession(f"{folder}/onnx/{n}.onnx", options, providers=["CPUExecutionProvider"]) for n in names}


def run(graphs, stages, inputs):
    """The probabilities that a variant gives: each stage reads inputs or what stages before it gave."""
    known = dict(inputs)
    for name in stages:
        graph = graphs[name]
        outputs = [o.name for o in graph.get_outputs()]
        known.update(zip(outputs, graph.run(outputs, {i.name: known[i.name] for i in graph.get_inputs()})))
    return known["probabilities"]


def inputs(samples, rows, length):
    return {"image": samples["image"][rows], **{n: samples[n][rows][:, :length] for n in ("input_ids", "attention_mask")}}


def answers(graphs, stages, samples):
    count = len(samples["label"])
    return np.concatenate([run(graphs, stages, inputs(samples, slice(i, i + 50), None)).argmax(1) for i in range(0, count, 50)])


def cost(graphs, stages, samples, batch):
    """The median processor time per sample, in ms."""
    short = np.flatnonzero(samples["attention_mask"].sum(1) <= LENGTH)[:batch]
    feed, times = inputs(samples, short, LENGTH), []
    for _ in range(REPEATS):
        began = time.thread_time()
        run(graphs, stages, feed)
        times.append(time.thread_time() - began)
    return round(1000 * float(np.median(times)) / batch, 3)


def measure(graphs, stages, samples):
    found = {}
    for name in SETS:
        right = answers(graphs, stages, samples[name]) == samples[name]["label"]
        vendors = {v: round(float(right[samples[name]["vendor"] == v].mean()), 4) for v in data.VENDORS}
        found[name] = {"accuracy": round(float(right.mean()), 4), "interval": wilson(int(right.sum()), len(right)),
                       "samples": len(right), "vendors": vendors}
    found["ms"] = {str(b): cost(graphs, stages, samples["profile"], b) for b in BATCHES}
    return found


def table(results):
    rows = [["variant", "profile accuracy", "held-out accuracy", *(f"held-out, {v}" for v in data.VENDORS), *(f"ms, batch {b}" for b in BATCHES)]]
    rows.append(["---"] * 3 + ["---:"] * (len(rows[0]) - 3))
    for name, r in results["variants"].items():
        share = lambda s: f"{r[s]['accuracy']:.4f} ({r[s]['interval'][0]:.3f} to {r[s]['interval'][1]:.3f})"
        rows.append([f"`{name}`", share("profile"), share("heldout"), *(f"{x:.3f}" for x in r["heldout"]["vendors"].values()),
                     *(f"{x:.2f}" for x in r["ms"].values())])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(folder):
    here = pathlib.Path(__file__).parent
    samples = {s: dict(np.load(f"{folder}/eval/{s}.npz")) for s in SETS}
    graphs = load(folder)
    results = {"onnxruntime": onnxruntime.__version__, "threads": 1, "variants": {}}
    for name, stages in VARIANTS.items():
        results["variants"][name] = measure(graphs, stages, samples)
        print(name, results["variants"][name], flush=True)
    (here / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    readme = here / "README.md"
    text = f"<!-- table -->\n{table(results)}\n<!-- end -->"
    readme.write_text(re.sub(r"<!-- table -->.*<!-- end -->", lambda _: text, readme.read_text(), flags=re.S))


if __name__ == "__main__":
    main(*sys.argv[1:])
