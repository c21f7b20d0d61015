"""Run the shipped graphs on both labelled sets: sign accuracy of every variant, and processor time on one thread.

Processor time, not the clock: one thread's work is what a variant costs, whatever else the machine is doing.
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

import model
from export import OUTPUT, features

SETS = ("profile", "heldout")
BATCHES = (1, 8, 32)
SECONDS = 1.0  # per variant and batch size
ORDER = ("face", "text", "text_face", "voice", "face_voice", "text_voice", "all")


def wilson(right, count, z=1.96):
    """The 95 % interval of a share."""
    p = right / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return [round(middle - half, 4), round(middle + half, 4)]


class Variant:
    """The stages of one variant, run one after the other."""

    def __init__(self, folder, subset):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        load = lambda name: onnxruntime.InferenceSession(str(pathlib.Path(folder, "onnx", f"{name}.onnx")), options, providers=["CPUExecutionProvider"])
        self.encoders = {m: load(f"{m}_encoder") for m in subset}
        self.head = load(f"{model.name(subset)}_head")

    def run(self, inputs):
        """The predicted ratings [n]."""
        between = {features(m): e.run(None, {m: inputs[m]})[0] for m, e in self.encoders.items()}
        return self.head.run([OUTPUT], between)[0][:, 0]


def right(predicted, label):
    """Where the sign is right; zero counts as positive."""
    return (predicted >= 0) == (label >= 0)


def accuracy(variant, samples, size=50):
    count = len(samples["label"])
    parts = [variant.run({m: samples[m][i : i + size] for m in model.MODALITIES}) for i in range(0, count, size)]
    found = int(right(np.concatenate(parts), samples["label"]).sum())
    return {"accuracy": round(found / count, 4), "interval": wilson(found, count), "samples": count}


def cost(variant, samples, batch):
    """The median processor time per sample, in ms, of samples at full length."""
    feed = {m: samples[m][:batch] for m in model.MODALITIES}
    variant.run(feed)
    times, until = [], time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(times) < 5:
        began = time.thread_time()
        variant.run(feed)
        times.append(time.thread_time() - began)
    return round(1000 * float(np.median(times)) / batch, 3)


def table(variants):
    head = ["variant", "profile", "held-out", *(f"ms, batch {b}" for b in BATCHES)]
    rows = [head, ["---", "---", "---", *("---:" for _ in BATCHES)]]
    for name, r in variants.items():
        share = lambda s: f"{r[s]['accuracy']:.4f} ({r[s]['interval'][0]:.3f} to {r[s]['interval'][1]:.3f})"
        rows.append([f"`{name}`", share("profile"), share("heldout"), *(f"{r['ms'][str(b)]:.2f}" for b in BATCHES)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(folder):
    here = pathlib.Path(__file__).parent
    samples = {s: dict(np.load(pathlib.Path(folder, "eval", f"{s}.npz"))) for s in SETS}
    variants = {}
    for subset in sorted(model.SUBSETS, key=lambda s: ORDER.index(model.name(s))):
        variant = Variant(folder, subset)
        found = {s: accuracy(variant, samples[s]) for s in SETS}
        found["ms"] = {str(b): cost(variant, samples["profile"], b) for b in BATCHES}
        variants[model.name(subset)] = found
        print(model.name(subset), found, flush=True)
    (here / "results.json").write_text(json.dumps({"onnxruntime": onnxruntime.__version__, "threads": 1, "variants": variants}, indent=1) + "\n")
    readme = here / "README.md"
    text = f"<!-- table -->\n{table(variants)}\n<!-- end -->"
    readme.write_text(re.sub(r"<!-- table -->.*<!-- end -->", lambda _: text, readme.read_text(), flags=re.S))


if __name__ == "__main__":
    main(sys.argv[1])
