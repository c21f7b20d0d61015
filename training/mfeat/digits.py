"""The same method on the data of models/digits, whose modalities have nothing in common but the digit. Writes digits.json.

Image, audio and text are described by simple features. 2,000 samples of the profile set train, the held-out set is judged.
"""

import json
import pathlib
import sys

import numpy as np

import data

TRAIN = 2000
WINDOW, STEP, BANDS, SPANS = 256, 128, 24, 8  # of the audio's spectrum


def image(x):
    return x.reshape(len(x), -1).astype(np.float32)


def audio(x):
    """The logarithm of the energy in bands and spans of time."""
    starts = np.arange(0, x.shape[1] - WINDOW + 1, STEP)
    frames = x[:, starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames, axis=-1))[..., 1 : 1 + 5 * BANDS] ** 2
    spans = [part.mean(1) for part in np.array_split(power, SPANS, axis=1)]
    bands = np.stack([part.mean(-1) for part in np.array_split(np.stack(spans, 1), BANDS, axis=-1)], -1)
    return np.log(bands + 1).reshape(len(x), -1).astype(np.float32)


def text(x):
    """Which letters are there, how often, and the letter at each place."""
    letters = (x[:, :, None] == np.arange(97, 123)).astype(np.float32)
    return np.concatenate([letters.sum(1), letters.reshape(len(x), -1)], axis=1)


MAKERS = {"image": image, "audio": audio, "text": text}
data.VIEWS = {"image": 784, "audio": BANDS * SPANS, "text": 26 * 13}  # before model reads it

import crossval  # noqa: E402
import model  # noqa: E402


def load(path, most=None):
    samples = {name: array[:most] for name, array in np.load(path).items()}
    return {name: make(samples[name]) for name, make in MAKERS.items()}, samples["label"].astype(np.int64)


def main(folder, out):
    views, label = load(pathlib.Path(folder, "eval/profile.npz"), TRAIN)
    held, judged = load(pathlib.Path(folder, "eval/heldout.npz"))
    subsets = model.PRESENT[: model.M]
    right = np.zeros((crossval.SEEDS, len(subsets), len(crossval.METHODS), len(judged)), bool)
    used = np.zeros((crossval.SEEDS, len(subsets), len(judged)))
    for seed in range(crossval.SEEDS):
        fitted = model.Model.fit(views, label, seed)
        tokens = fitted.tokens(held)
        for k, subset in enumerate(subsets):
            right[seed, k], used[seed, k] = crossval.judge(fitted, subset, tokens, judged, fitted.impute)
    results = {"train": len(label), "test": len(judged), "seeds": crossval.SEEDS, "one modality": crossval.summary(right, used, subsets)}
    pathlib.Path(out).write_text(json.dumps(results, indent=1) + "\n")
    print(results["one modality"]["pooled"], results["one modality"]["DyMo over no recovery"])


if __name__ == "__main__":
    main(*sys.argv[1:])
