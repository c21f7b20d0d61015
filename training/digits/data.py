"""Draw spoiled samples of one split: a label, and for each modality asked for, a source no other split has."""

import json
import pathlib

import numpy as np
import torch

import degrade
import typing_errors
from speech import WORDS

PARTS = {"train": (0.0, 0.65), "profile": (0.65, 0.85), "heldout": (0.85, 1.0)}
SEEDS = {"train": 11, "profile": 12, "heldout": 13}
POOL = {"train": 30000, "profile": 1000, "heldout": 1000}  # typed words per digit
ESPEAK_SHARE = 0.8  # of the clips; the rest is flite and festival, of few but more natural voices


def read_images(folder, split):
    """This split's images per digit. MNIST lists a writer's digits together, so each digit is cut in blocks."""
    low, high = PARTS[split]
    images = []
    for digit in range(10):
        flat = np.array(json.loads(pathlib.Path(folder, f"{digit}.json").read_text())["data"], dtype=np.float32)
        every = torch.from_numpy(flat.reshape(-1, 28, 28))
        images.append(every[int(len(every) * low) : int(len(every) * high)])
    return images


class Source:
    """All that one split may draw from."""

    def __init__(self, work, split):
        self.split = split
        per_digit = read_images(pathlib.Path(work, "mnist/package/src/digits"), split)
        self.images = torch.cat(per_digit)
        self.image_count = torch.tensor([len(x) for x in per_digit])
        self.image_start = self.image_count.cumsum(0) - self.image_count
        words = typing_errors.pool(WORDS, POOL[split], SEEDS[split])
        self.words = torch.tensor(words, dtype=torch.uint8)
        speech = np.load(pathlib.Path(work, "speech.npz"))
        self.pcm = torch.from_numpy(speech["pcm"])
        self.start, self.length = torch.from_numpy(speech["start"]), torch.from_numpy(speech["length"])
        mine = speech["split"] == split
        espeak = np.char.startswith(speech["voice"], "espeak")
        pick = lambda digit, which: torch.from_numpy(np.flatnonzero(mine & which & (speech["label"] == digit)))
        self.clips = [(pick(d, espeak), pick(d, ~espeak)) for d in range(10)]

    def image(self, label, rng):
        at = self.image_start[label] + (torch.rand(len(label), generator=rng) * self.image_count[label]).long()
        x = self.images[at]
        return degrade.images(degrade.bend(x, rng) if self.split == "train" else x, rng)

    def audio(self, label, rng):
        which = torch.rand(len(label), 2, generator=rng)
        clips = []
        for digit, (kind, u) in zip(label.tolist(), which.tolist()):
            group = self.clips[digit][kind >= ESPEAK_SHARE]
            clips.append(group[int(u * len(group))])
        clip = torch.stack(clips)
        return degrade.audio(self.pcm, self.start[clip], self.length[clip], rng)

    def text(self, label, rng):
        return self.words[label, torch.randint(self.words.shape[1], (len(label),), generator=rng)]

    def draw(self, label, modalities, rng):
        return {m: getattr(self, m)(label, rng) for m in modalities}


def write(work, split, count, out):
    """Ship a fixed set: every digit equally often, all three modalities, in shuffled order."""
    rng = torch.Generator().manual_seed(SEEDS[split])
    label = (torch.arange(count) % 10)[torch.randperm(count, generator=rng)]
    drawn = Source(work, split).draw(label, ("audio", "image", "text"), rng)
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, label=label.numpy(), **{m: x.numpy() for m, x in drawn.items()})
