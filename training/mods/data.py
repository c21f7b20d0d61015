"""Samples of seven-class sentiment in three channels: a rated word, the same rating spoken with prosody and drawn as a face.

The rating is people's mean rating of a word of VADER's lexicon; the class is one of seven equal shares of the ratings. Each
channel of each sample is spoiled at random, independently of the others: letters are replaced, the recording drowns in
noise, the face is covered. Which channel can be trusted differs from sample to sample.
"""

import pathlib
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent.resolve()
sys.path.append(str(HERE.parent / "sentiment"))
import corpus  # noqa: E402

CLASSES, WORDS = 7, 1400
SPOILED = 0.5  # share of the samples, of each channel
TONE, LOOK = 0.5, 0.35  # standard deviations of the tone and of the drawing around the rating, on the scale of ratings
LETTERS, SIDE = 14, 20
BANDS, FRAMES = 16, 32  # of a recording: below 1 kHz, 2 s
WINDOW, HOP = 256, 64
SEEDS = {"train": 1, "test": 2}


def words(folder):
    """Plain words with their ratings, WORDS of them, the same for all runs."""
    rows = sorted((w, r) for w, r in corpus.lexicon(folder) if w.isascii() and w.isalpha() and 4 <= len(w) <= LETTERS)
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:WORDS]]


def spell(texts, spoiled, rng):
    """uint8 [n, LETTERS]: one letter in twelve is wrong; of spoiled words, two in three."""
    codes = np.zeros((len(texts), LETTERS), np.uint8)
    for row, text in zip(codes, texts):
        row[: len(text)] = np.frombuffer(text.lower().encode(), np.uint8) - 96
    wrong = rng.random(codes.shape) < np.where(spoiled, 2 / 3, 1 / 12)[:, None]
    return np.where(wrong & (codes > 0), rng.integers(1, 27, codes.shape), codes).astype(np.uint8)


def spectrum(clips):
    """float32 [n, FRAMES, BANDS]: log energies of sounds at 4 kHz, [n, 8000]."""
    frames = np.lib.stride_tricks.sliding_window_view(clips, WINDOW, axis=1)[:, ::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames, axis=2))[:, :, 1 : 4 * BANDS + 1] ** 2
    power = power.reshape(len(clips), power.shape[1], BANDS, 4).mean(3)
    power = np.pad(power, ((0, 0), (0, 4 * FRAMES - power.shape[1]), (0, 0)))
    return np.log(power.reshape(len(clips), FRAMES, 4, BANDS).mean(2) + 1e-4).astype(np.float32)


class Voices:
    """Recordings by tone. Those of the test are of voices that training does not have."""

    def __init__(self, speech, split):
        spoken = dict(np.load(speech))
        mine = np.flatnonzero((spoken["split"] == "train") == (split == "train"))
        mine = mine[np.argsort(spoken["tone"][mine], kind="stable")]
        self.tone = spoken["tone"][mine]
        self.clips = np.zeros((len(mine), 8000), np.float32)
        for row, at in zip(self.clips, mine):
            start, length = spoken["start"][at], min(spoken["length"][at], 8000)
            row[:length] = spoken["pcm"][start : start + length] / 32768

    def say(self, rating, spoiled, rng):
        """The spectra of recordings in a tone that fits each rating."""
        tone = np.clip(rating + TONE * rng.standard_normal(len(rating)), -5, 5)
        at = np.clip(np.searchsorted(self.tone, tone) + rng.integers(-15, 16, len(rating)), 0, len(self.tone) - 1)
        seen = []
        for part, bad in zip(np.array_split(at, max(1, len(at) // 500)), np.array_split(spoiled, max(1, len(at) // 500))):
            x = self.clips[part]
            x = x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-9)
            decibels = np.where(bad, rng.uniform(-25, -12, len(part)), rng.uniform(15, 25, len(part)))
            x = x + rng.standard_normal(x.shape, np.float32) * (10 ** (-decibels / 20)).astype(np.float32)[:, None]
            seen.append(spectrum(x / np.sqrt((x * x).mean(1, keepdims=True))))
        return np.concatenate(seen)


def faces(rating, spoiled, rng):
    """float32 [n, SIDE, SIDE]: mouth and brows follow the rating; a spoiled face is mostly noise."""
    n = len(rating)
    look = np.clip(rating + LOOK * rng.standard_normal(n), -5, 5)[:, None, None] / 4
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    shift = lambda: rng.uniform(-0.12, 0.12, (n, 1, 1))
    x, y = (x + shift()) * rng.uniform(0.9, 1.15, (n, 1, 1)), y + shift()
    line = lambda at, wide: np.exp(-(((y - at) / 0.09) ** 2)) * wide
    mouth = line(0.5 - 0.9 * look * (x * x - 0.12), np.abs(x) < 0.55)
    brows = line(-0.5 + 0.5 * look * (np.abs(x) - 0.4), (np.abs(x) > 0.2) & (np.abs(x) < 0.65))
    eyes = np.exp(-(((np.abs(x) - 0.4) / 0.09) ** 2) - ((y + 0.2) / 0.09) ** 2)
    drawn = (mouth + brows + eyes) * np.where(spoiled, 0.15, 1.0)[:, None, None]
    return (drawn + 0.15 * rng.standard_normal(drawn.shape) + np.where(spoiled, 0.6, 0.0)[:, None, None] * rng.standard_normal(drawn.shape)).astype(np.float32)


def draw(folder, speech, split, count):
    """Tensors of a split: text, voice, face, label, and which channels are spoiled."""
    rng = np.random.default_rng(SEEDS[split])
    rows = words(folder)
    ratings = np.array([r for _, r in rows])
    edges = np.quantile(ratings, np.arange(1, CLASSES) / CLASSES)
    label = np.arange(count) % CLASSES
    classes = np.searchsorted(edges, ratings, side="right")
    at = np.empty(count, int)
    for c in range(CLASSES):
        at[label == c] = rng.choice(np.flatnonzero(classes == c), (label == c).sum())
    spoiled = rng.random((count, 3)) < SPOILED
    rating = ratings[at]
    return {"text": torch.from_numpy(spell([rows[i][0] for i in at], spoiled[:, 0], rng)).long(),
            "voice": torch.from_numpy(Voices(speech, split).say(rating, spoiled[:, 1], rng)),
            "face": torch.from_numpy(faces(rating, spoiled[:, 2], rng)),
            "label": torch.from_numpy(label).long(), "spoiled": torch.from_numpy(spoiled)}
