"""Pictures of faces: real drawings, chosen as often as people use them in negative and in positive tweets.

The drawings are Google's Noto emoji. The Emoji Sentiment Ranking (Kralj Novak et al., 2015) counts, for each emoji, in how
many tweets it occurs that people labelled negative, neutral and positive. The face of a text is drawn by chance with the
frequencies of the sign of its rating. Pictures are then blurred, covered and noisy, like those of a bad camera.
"""

import csv
import json
import pathlib

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

SIDE = 32
LEVELS = 32  # grey levels of the sensor
COUNT_MIN = 100  # an emoji that occurs less often has no reliable frequencies


def table(ranking, emoji):
    """The faces: name of the picture, tweets that are negative, tweets that are positive."""
    kinds = {e["unified"].split("-")[0].lower(): e for e in json.loads(pathlib.Path(emoji, "emoji.json").read_text())}
    faces = []
    for row in csv.DictReader(open(ranking, encoding="utf-8")):
        kind = kinds.get(row["Unicode codepoint"][2:].lower())
        negative, neutral, positive = (int(row[k]) for k in ("Negative", "Neutral", "Positive"))
        if kind and kind["subcategory"].startswith("face") and negative + neutral + positive >= COUNT_MIN:
            faces.append((kind["image"], negative, positive))
    return faces


class Faces:
    """Draws pictures for ratings."""

    def __init__(self, ranking, emoji):
        faces = table(ranking, emoji)
        counts = torch.tensor([[n, p] for _, n, p in faces], dtype=torch.float64)
        self.chances = (counts / counts.sum(0)).T  # by sign, by face
        pictures = []
        for name, _, _ in faces:
            face = Image.open(pathlib.Path(emoji, "img/google/64", name)).convert("RGBA")
            paper = Image.new("RGBA", face.size, "black")
            pictures.append(np.asarray(Image.alpha_composite(paper, face).convert("L")))
        self.pictures = torch.from_numpy(np.stack(pictures)).float() / 255

    def draw(self, rating, rng):
        """Pictures [n, 32, 32] of bytes."""
        chances = self.chances[(rating >= 0).long()]
        return spoil(self.pictures[torch.multinomial(chances, 1, generator=rng).squeeze(1)], rng)


def uniform(low, high, shape, rng):
    return low + (high - low) * torch.rand(shape, generator=rng)


def spoil(x, rng):
    """Turn, move and scale; low contrast, a patch laid over, blur, and sensor noise: [n, 64, 64] in 0..1 to bytes."""
    n = len(x)
    one = lambda low, high: uniform(low, high, (n, 1, 1), rng)
    angle, size = uniform(-0.25, 0.25, n, rng), uniform(0.95, 1.25, n, rng)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = size * angle.cos(), -size * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = size * angle.sin(), size * angle.cos()
    theta[:, :, 2] = uniform(-0.15, 0.15, (n, 2), rng)
    smooth = F.avg_pool2d(x.unsqueeze(1), 2)
    x = F.grid_sample(smooth, F.affine_grid(theta, (n, 1, SIDE, SIDE), align_corners=False), align_corners=False).squeeze(1)
    soft = F.avg_pool2d(x.unsqueeze(1), 3, stride=1, padding=1).squeeze(1)
    blur = one(-1, 1).clamp(min=0)
    x = one(0, 0.3) + one(0.3, 0.7) * (x * (1 - blur) + soft * blur)
    rows, columns = torch.arange(SIDE).view(1, SIDE, 1), torch.arange(SIDE).view(1, 1, SIDE)
    top, left, side = one(-3, 30), one(-3, 30), one(3, 11)
    covered = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side) & (one(0, 1) < 0.5)
    x = torch.where(covered, one(0.1, 0.9).expand_as(x), x)
    x = x + torch.randn(x.shape, generator=rng) * one(0.01, 0.06)
    return ((x * LEVELS).floor().clamp(0, LEVELS - 1) * (256 // LEVELS)).to(torch.uint8)
