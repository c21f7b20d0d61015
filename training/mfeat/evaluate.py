"""Run the shipped graphs on both labelled sets: accuracy of every variant, and processor time on one thread.

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

import crossval
import model
from model import M, NAMES

SETS = ("profile", "heldout")
BATCHES = (1, 32)
SECONDS = 0.3  # per variant and batch size


def wilson(right, count, z=1.96):
    """The 95 % interval of a share."""
    p = right / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return [round(middle - half, 4), round(middle + half, 4)]


class Variant:
    def __init__(self, folder, subset, recover):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.name, self.subset = model.name(subset) + ("_recover" if recover else ""), subset
        self.session = onnxruntime.InferenceSession(str(pathlib.Path(folder, "onnx", f"{self.name}.onnx")), options, providers=["CPUExecutionProvider"])

    def run(self, samples):
        """Probabilities [n, classes], and which recovered views they use [n, M]."""
        return self.session.run(["probabilities", "trusted"], {NAMES[i]: samples[NAMES[i]] for i in self.subset})


def cost(variant, samples, batch):
    """The median processor time per sample, in ms."""
    feed = {view: samples[view][:batch] for view in NAMES}
    variant.run(feed)
    times, until = [], time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(times) < 5:
        began = time.thread_time()
        variant.run(feed)
        times.append(time.thread_time() - began)
    return round(1000 * float(np.median(times)) / batch, 3)


def shares(right):
    return {"accuracy": round(float(right.mean()), 4), "interval": wilson(int(right.sum()), len(right)), "samples": len(right)}


def table(results):
    cell = lambda r: f"{r['accuracy']:.4f} ({r['interval'][0]:.3f} to {r['interval'][1]:.3f})"
    rows = [["present", "profile", "held-out", "profile, with recovery", "held-out, with recovery", "ms, batch 32", "with recovery"], ["---"] * 5 + ["---:"] * 2]
    for name, r in results.items():
        if name.endswith("_recover"):
            continue
        other = results.get(f"{name}_recover")
        rows.append([f"`{name}`", *(cell(r[s]) for s in SETS), *((cell(other[s]) for s in SETS) if other else ("", "")),
                     f"{r['ms']['32']:.3f}", f"{other['ms']['32']:.3f}" if other else ""])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(folder):
    here = pathlib.Path(__file__).parent
    samples = {s: dict(np.load(pathlib.Path(folder, "eval", f"{s}.npz"))) for s in SETS}
    results, right = {}, {}
    for subset in model.PRESENT:
        for recover in (False, True)[: 1 + (len(subset) < M)]:
            variant = Variant(folder, subset, recover)
            found = {}
            for s in SETS:
                answers, trusted = variant.run(samples[s])
                right[s, variant.name] = answers.argmax(1) == samples[s]["label"]
                found[s] = shares(right[s, variant.name])
                if recover:
                    found[s]["recovered views used"] = round(float(trusted.sum(1).mean()), 2)
            found["ms"] = {str(b): cost(variant, samples["profile"], b) for b in BATCHES}
            results[variant.name] = found
    gains = {}
    for title, size in {"one view": 1, "two views": 2}.items():
        names = [model.name(s) for s in model.PRESENT if len(s) == size]
        of = lambda end: np.array([[right["heldout", n + end] for n in names]])
        gains[title] = {"no recovery": round(float(of("").mean()), 4), "DyMo": round(float(of("_recover").mean()), 4), **crossval.gain(of(""), of("_recover"))}
    (here / "results.json").write_text(json.dumps({"onnxruntime": onnxruntime.__version__, "threads": 1, "held-out": gains, "variants": results}, indent=1) + "\n")
    readme = here / "README.md"
    text = f"<!-- begin table -->\n{table(results)}\n<!-- end table -->"
    readme.write_text(re.sub(r"<!-- begin table -->.*<!-- end table -->", lambda _: text, readme.read_text(), flags=re.S))
    print(json.dumps(gains))


if __name__ == "__main__":
    main(*sys.argv[1:])
