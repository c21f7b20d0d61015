"""Labelled samples with two modalities: the left and the right half of a digit that was written by hand.

The 1,797 pictures are scikit-learn's own. Any two views of the same thing would do: a picture and its caption, a
recording and its transcript, readings of two sensors.
"""

import pathlib

import numpy
from sklearn.datasets import load_digits

VIEWS = {"left": slice(0, 4), "right": slice(4, 8)}
SUBSETS = [("left",), ("right",), ("left", "right")]


def load():
    """The views and labels to train on, and those to measure on, which nothing has been trained on."""
    digits = load_digits()
    pictures = digits.images.astype(numpy.uint8)  # [1797, 8, 8], 0 to 16
    order = numpy.random.default_rng(7).permutation(len(pictures))
    train, measure = order[:1000], order[1000:]

    def part(rows):
        views = {name: pictures[rows][:, :, columns] for name, columns in VIEWS.items()}
        return views, digits.target[rows].astype(numpy.int64)

    return part(train), part(measure)


def save_samples(folder, views, labels):
    """The file that `mosel init` and `mosel profile` read, and one sample as `mosel infer` takes it."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    numpy.savez_compressed(folder / "samples.npz", **views, label=labels)
    for name, view in views.items():
        numpy.save(folder / f"{name}.npy", view[0])
    print(f"{folder}: {len(labels)} samples; the first one, a {labels[0]}, is in left.npy and right.npy")
