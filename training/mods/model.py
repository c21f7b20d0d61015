"""MODS: a primary modality for each sample (Yang et al., AAAI 2026), small.

An encoder makes four tokens of each modality; it is trained alone and then stays as it is, as the paper's features of sound
and pictures do. The selector pools each modality's tokens by attention and weighs the
modalities: w = softmax(MLP([h_text; h_voice; h_face])); the primary is the one with the largest weight, and all tokens are
scaled by their modality's weight. Each layer of PCCA then adds to the primary's tokens what they attend to in the other
two and in themselves, and lets the others attend to the primary; the last layer only serves the primary, of which the
classes are read. With a fixed primary there is no selector and no scaling, as in the paper's ablation.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

MODALITIES = ("text", "voice", "face")
TOKENS, CLASSES, WIDTH = 4, 7, 32


class Text(nn.Module):
    """Letters to tokens: hashed runs of two and three letters, then a convolution over pairs."""

    table = 8192

    def __init__(self, width):
        super().__init__()
        self.run = nn.Embedding(self.table, width)
        self.near = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, text):
        x = F.pad(text, (2, 0))
        two = x[:, 1:-1] * 27 + x[:, 2:]
        three = (x[:, :-2] * 729 + two) * 31
        seen = self.run(two % self.table) + self.run((three + 977) % self.table)
        seen = F.relu(self.near((seen * (text > 0).unsqueeze(2)).transpose(1, 2)))
        return F.adaptive_avg_pool1d(F.pad(seen, (0, 2)), TOKENS).transpose(1, 2)


class Voice(nn.Module):
    """Spectra to tokens: two convolutions over time."""

    def __init__(self, width):
        super().__init__()
        self.scale = nn.BatchNorm1d(16)
        self.first, self.second = nn.Conv1d(16, width, 5, 2, 2), nn.Conv1d(width, width, 3, 2, 1)

    def forward(self, voice):
        x = self.scale(voice.transpose(1, 2))
        return F.adaptive_avg_pool1d(F.relu(self.second(F.relu(self.first(x)))), TOKENS).transpose(1, 2)


class Face(nn.Module):
    """Pictures to tokens: two convolutions and a linear layer."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 12, 5, 2, 2), nn.Conv2d(12, 24, 3, 2, 1)
        self.out = nn.Linear(24 * 25, TOKENS * width)
        self.width = width

    def forward(self, face):
        x = F.relu(self.second(F.relu(self.first(face.unsqueeze(1)))))
        return self.out(x.flatten(1)).reshape(-1, TOKENS, self.width)


ENCODERS = {"text": Text, "voice": Voice, "face": Face}


class Alone(nn.Module):
    """One modality's encoder with a head of its own, for its training."""

    def __init__(self, modality, width):
        super().__init__()
        self.encoder = ENCODERS[modality](width)
        self.head = nn.Linear(TOKENS * width, CLASSES)

    def forward(self, x):
        return self.head(F.dropout(self.encoder(x).flatten(1), 0.1, self.training))


class Attention(nn.Module):
    """Tokens x attend to tokens y; both are normalised before."""

    def __init__(self, width, heads=4):
        super().__init__()
        self.heads = heads
        self.norm_x, self.norm_y = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x, y):
        split = lambda t: t.reshape(*t.shape[:2], self.heads, -1).transpose(1, 2)
        y = self.norm_y(y)
        q, (k, v) = split(self.q(self.norm_x(x))), (split(t) for t in self.kv(y).chunk(2, 2))
        mixed = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]), 3) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


def feed(width):
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Layer(nn.Module):
    def __init__(self, width, last):
        super().__init__()
        self.inward, self.own, self.feed = Attention(width), Attention(width), feed(width)
        self.outward, self.feed_others = (None, None) if last else (Attention(width), feed(width))

    def forward(self, primary, others):
        """others are [2n, TOKENS, width]: the second modalities of all samples, then the third ones."""
        heard = self.inward(torch.cat([primary, primary]), others)
        primary = primary + self.own(primary, primary) + sum(heard.chunk(2))
        primary = primary + self.feed(primary)
        if self.outward is not None:
            others = others + self.outward(others, torch.cat([primary, primary]))
            others = others + self.feed_others(others)
        return primary, others


class MODS(nn.Module):
    def __init__(self, fixed=None, width=WIDTH, layers=2):
        super().__init__()
        self.fixed = None if fixed is None else MODALITIES.index(fixed)
        self.enter = nn.ModuleList(nn.Linear(width, width) for _ in MODALITIES)
        self.kind = nn.Parameter(0.02 * torch.randn(3, 1, width))
        self.pool = nn.Parameter(0.1 * torch.randn(3, width))
        self.select = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Linear(width, 3))
        self.layers = nn.ModuleList(Layer(width, i + 1 == layers) for i in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Dropout(0.1), nn.Linear(width, CLASSES))
        self.project = nn.Linear(width, width)

    def forward(self, tokens):
        """Of the encoders' tokens [n, 3, TOKENS, width]: logits, the weights of the modalities, and one vector each of the primary and of all modalities."""
        tokens = torch.stack([enter(tokens[:, m]) for m, enter in enumerate(self.enter)], 1) + self.kind
        n, width = tokens.shape[0], tokens.shape[-1]
        if self.fixed is None:
            seen = torch.softmax((tokens * self.pool.unsqueeze(1)).sum(3) / math.sqrt(width), 2)
            pooled = (seen.unsqueeze(3) * tokens).sum(2)
            weights = torch.softmax(self.select(pooled.flatten(1)), 1)
            first = weights.argmax(1)
            scaled = tokens * (3 * weights)[:, :, None, None]  # three times: of equal weights nothing changes
        else:
            weights = F.one_hot(torch.full((n,), self.fixed), 3).float()
            first, scaled = torch.full((n,), self.fixed), tokens
        order = (first.unsqueeze(1) + torch.arange(3)) % 3  # the primary first: rows may have different ones
        ordered = scaled[torch.arange(n).unsqueeze(1), order]
        primary, others = ordered[:, 0], torch.cat([ordered[:, 1], ordered[:, 2]])
        for layer in self.layers:
            primary, others = layer(primary, others)
        answer = primary.mean(1)
        return self.head(answer), weights, answer, tokens.mean(2)


def contrast(model, answer, each, temperature=0.2):
    """InfoNCE between the primary's answer and each modality: of one sample they belong together."""
    a = F.normalize(model.project(answer), dim=1)
    total = 0
    for m in range(3):
        close = a @ F.normalize(each[:, m], dim=1).T / temperature
        total = total + F.cross_entropy(close, torch.arange(len(a)))
    return total
