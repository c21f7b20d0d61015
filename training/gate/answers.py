"""Draw samples of the training split of digits and have the package's variants answer them.

A gate learns from these answers. Only the training split is used: the profile certifies the gate with the profile set, and
the comparison uses the held-out set. Speech is expensive to draw and to run, so only the first samples have it.
"""

import pathlib
import sys

import numpy as np
import onnxruntime
import torch

DIGITS = pathlib.Path(__file__).parent.resolve().parent / "digits"
sys.path.insert(0, str(DIGITS))
import data  # noqa: E402

SEED = 31
SAMPLES, SPOKEN = 120_000, 16_000
VARIANTS = {"image_text": ("image", "text"), "all_int8": ("audio", "image", "text")}


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def answer(graph, samples, label, batch=32):
    """For each sample: whether the variant is right."""
    right = []
    for i in range(0, len(label), batch):
        p = graph.run(None, {m: x[i : i + batch] for m, x in samples.items()})[0]
        right.append(p.argmax(1) == label[i : i + batch])
    return np.concatenate(right)


def main(work, package, out):
    rng = torch.Generator().manual_seed(SEED)
    source = data.Source(work, "train")
    label = (torch.arange(SAMPLES) % 10)[torch.randperm(SAMPLES, generator=rng)]
    drawn = source.draw(label, ("image", "text"), rng)
    spoken = torch.cat([source.audio(part, rng) for part in label[:SPOKEN].split(500)])
    samples = {m: x.numpy() for m, x in drawn.items()} | {"audio": spoken.numpy()}
    kept = {"label": label.numpy().astype(np.int64), "image": samples["image"], "text": samples["text"]}
    for name, modalities in VARIANTS.items():
        n = SPOKEN if "audio" in modalities else SAMPLES
        graph = session(pathlib.Path(package, "onnx", f"{name}.onnx"))
        right = answer(graph, {m: samples[m][:n] for m in modalities}, kept["label"][:n])
        kept[f"{name}.right"] = right
        print(f"{name}: right on {right.mean():.4f} of {n} training samples", flush=True)
    np.savez(out, **kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
