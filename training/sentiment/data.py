"""The three modalities of samples: for training drawn anew each time, for the labelled sets written once."""

import math
import pathlib

import numpy as np
import torch

import corpus
import faces
import speech

SEEDS = {"profile": 12, "heldout": 13}
STEPS = 15  # of the telephone: so few that a clip takes little room in a file


def uniform(low, high, shape, rng):
    return low + (high - low) * torch.rand(shape, generator=rng)


def telephone(x):
    """Mu-law with few steps, there and back, as a poor digital line does: [-1, 1] to int16."""
    companded = torch.sign(x) * torch.log1p(255 * x.abs()) / math.log(256)
    steps = (companded * STEPS).round() / STEPS
    return (torch.sign(steps) * torch.expm1(steps.abs() * math.log(256)) / 255 * 32767).round().to(torch.int16)


class Voices:
    """Clips by number or by tone, with noise and a telephone line."""

    def __init__(self, work, split):
        spoken = dict(np.load(pathlib.Path(work, "speech.npz")))  # read once
        mine = np.flatnonzero(spoken["split"] == split)
        mine = mine[np.argsort(spoken["tone"][mine] if split == "train" else spoken["text"][mine], kind="stable")]
        self.tone = torch.from_numpy(spoken["tone"][mine])
        self.clips = torch.zeros(len(mine), speech.LONGEST, dtype=torch.int16)
        self.length = torch.from_numpy(spoken["length"][mine])
        for row, at in zip(self.clips, mine):
            start, length = spoken["start"][at], spoken["length"][at]
            row[:length] = torch.from_numpy(spoken["pcm"][start : start + length])

    def toned(self, rating, rng):
        """Clips for training: of a tone that fits each rating."""
        tone = rating + speech.CHANCE * torch.randn(len(rating), generator=rng)
        at = torch.searchsorted(self.tone, tone.double().clamp(-speech.TONE_MAX, speech.TONE_MAX))
        at = at + torch.randint(-40, 41, at.shape, generator=rng)
        return self.spoil(at.clamp(0, len(self.tone) - 1), rng)

    def spoil(self, which, rng):
        """int16 [n, longest]: noise while the clip lasts, zeros after it."""
        length = self.length[which]
        x = self.clips[which, : int(length.max())].float() / 32768
        there = torch.arange(x.shape[1]) < length.unsqueeze(1)
        x = x / (x.pow(2).sum(1, keepdim=True) / length.unsqueeze(1)).sqrt()
        x = x + torch.randn(x.shape, generator=rng) * 10 ** (-uniform(5, 25, (len(x), 1), rng) / 20)
        x = x / x.abs().amax(1, keepdim=True) * 10 ** (uniform(-12, 0, (len(x), 1), rng) / 20)
        x = telephone(x)
        # The line's quiet noise: a clip has no zeros at its end.
        last = torch.arange(len(x)), length - 1
        x[last] = torch.where(x[last] == 0, torch.ones_like(x[last]), x[last])
        return torch.where(there, x, torch.zeros_like(x))


def codes(texts):
    return torch.from_numpy(np.stack([corpus.codes(t) for t in texts]))


def write(work, split, out):
    """Ship a labelled set: texts, faces and voices of the split, and the ratings."""
    rng = torch.Generator().manual_seed(SEEDS[split])
    rows = corpus.tweets(pathlib.Path(work, "vader"))[split]
    rating = torch.tensor([r for _, r in rows], dtype=torch.float32)
    drawn = faces.Faces(pathlib.Path(work, "ranking.csv"), pathlib.Path(work, "emoji")).draw(rating, rng)
    clips = Voices(work, split)
    sound = torch.zeros(len(rows), speech.LONGEST, dtype=torch.int16)
    for i in range(0, len(rows), 100):
        which = torch.arange(i, min(i + 100, len(rows)))
        part = clips.spoil(which, rng)
        sound[which, : part.shape[1]] = part
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, text=codes([t for t, _ in rows]).numpy(), face=drawn.numpy(), voice=sound.numpy(), label=rating.numpy())
