"""Late fusion: an encoder for each modality, and a head for each subset of them.

An encoder turns raw bytes or samples of any length into a few numbers; what is zero after the end of an input changes
nothing. A head turns the numbers of its subset into a rating from -4 to 4: of each modality alone first, then of all
together. All preprocessing is in the graphs.
"""

import itertools
import math

import torch
from torch import nn
from torch.nn import functional as F

MODALITIES = ("text", "face", "voice")
SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(MODALITIES, n)]
FEATURES = 32  # of each modality
RATING_MAX = 4.0


def name(subset):
    """The name of a subset's variant."""
    return "all" if len(subset) == len(MODALITIES) else "_".join(subset)


class Text(nn.Module):
    """Bytes to features: words and short runs of letters are hashed to vectors, two convolutions look at their neighbours."""

    words, runs = 1 << 15, 1 << 12  # sizes of the tables
    longest = 12  # letters of a word that count: the last ones
    shortest_run, longest_run = 2, 3
    prime = 1000003
    each, width = 24, 64

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(5)
        self.register_buffer("factors", torch.randint(1 << 20, 1 << 31, (self.longest,), generator=rng) | 1)
        self.word = nn.Embedding(self.words, self.each)
        self.run = nn.Embedding(self.runs, self.each)
        for table in (self.word, self.run):
            nn.init.normal_(table.weight, std=0.01)
        self.enter = nn.Linear(self.each, self.width)
        self.near = nn.Conv1d(self.width, self.width, 5, padding=2)
        self.far = nn.Conv1d(self.width, self.width, 5, padding=4, dilation=2)
        self.out = nn.Linear(2 * self.width + self.each, FEATURES)

    def hashes(self, text):
        """For each byte: the hash of the word that ends there, whether one does, and those of the runs that end there."""
        x = text.long()
        x = torch.where((x >= 65) & (x <= 90), x + 32, x)
        length = x.shape[1]
        padded = F.pad(x, (self.longest, 1))
        letter = ((padded >= 97) & (padded <= 122)) | (padded == 39)
        before = lambda t, back: t[:, self.longest - back : self.longest - back + length]
        ends = before(letter, 0) & ~before(letter, -1)
        inside, word = ends, torch.zeros_like(x)
        for back in range(self.longest):
            inside = inside & before(letter, back)
            word = word + torch.where(inside, before(padded, back), 0) * self.factors[back]
        runs, run = [], torch.zeros_like(x)
        for back in range(self.longest_run):
            run = run + (before(padded, back) + 1) * self.factors[back]
            if back + 1 >= self.shortest_run:
                runs.append((run % self.prime) % self.runs)
        return (word % self.prime) % self.words, ends, runs

    def forward(self, text):
        word, ends, runs = self.hashes(text)
        there = text != 0
        keep = lambda flags: flags & (torch.rand(flags.shape) > 0.2) if self.training else flags
        x = self.word(word) * keep(ends).unsqueeze(2)
        for run in runs:
            x = x + self.run(run) * keep(there).unsqueeze(2)
        total = x.sum(1)
        # Four bytes become one step, which makes the convolutions cheap.
        steps = 4 * F.avg_pool1d(F.pad(x.transpose(1, 2), (0, 3)), 4)
        there = F.max_pool1d(F.pad(there.float().unsqueeze(1), (0, 3)), 4)
        x = self.enter(steps.transpose(1, 2)).transpose(1, 2) * there
        x = x + F.gelu(self.near(x)) * there
        x = x + F.gelu(self.far(x)) * there
        most = (x - 1e4 * (1 - there)).amax(2)
        mean = x.sum(2) / there.sum(2).clamp(min=1)
        return self.out(F.dropout(torch.cat([most, mean, total], 1), 0.2, self.training))


class Face(nn.Module):
    """32x32 bytes to features by four small convolutions."""

    def __init__(self):
        super().__init__()
        step = lambda i, o, stride: [nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
        self.stem = nn.Sequential(*step(1, 12, 2), *step(12, 24, 1), *step(24, 32, 2), *step(32, 48, 2))
        self.out = nn.Linear(48 * 16, FEATURES)

    def forward(self, face):
        x = face.float().unsqueeze(1)
        x = x - x.mean(dim=(2, 3), keepdim=True)
        x = x / torch.sqrt((x * x).mean(dim=(2, 3), keepdim=True) + 16)
        return self.out(F.dropout(self.stem(x).flatten(1), 0.2, self.training))


class Voice(nn.Module):
    """4 kHz PCM to features: the spectrum below 1 kHz every 16 ms, where the melody is, then convolutions over time."""

    window, hop, bins = 256, 64, 64
    width, blocks = 96, 3

    def __init__(self):
        super().__init__()
        self.register_buffer("fourier", fourier(self.window, self.bins))
        self.scale = nn.BatchNorm1d(self.bins)
        self.enter = nn.Conv1d(self.bins, self.width, 5, padding=2)
        self.mix = nn.ModuleList(nn.Conv1d(self.width, self.width, 5, padding=2 * d, dilation=d) for d in (1, 2, 4))
        self.norms = nn.ModuleList(nn.BatchNorm1d(self.width) for _ in range(self.blocks))
        self.out = nn.Linear(3 * self.width + 1, FEATURES)

    def forward(self, voice):
        x = F.pad(voice.float() * (1 / 32768), (0, self.window)).unsqueeze(1)
        # A frame is there if it begins before the end of the sound.
        there = F.max_pool1d(x[:, :, : -(self.window - self.hop)].abs(), self.hop) > 0
        there = there.float()
        parts = F.conv1d(x, self.fourier, stride=self.hop)
        frames = parts.shape[2]
        there = there[:, :, :frames]
        power = parts[:, : self.bins] ** 2 + parts[:, self.bins :] ** 2
        x = torch.log(power + 1e-4)
        count = there.sum(2).clamp(min=1)
        x = x - ((x * there).sum(2) / count).mean(1, keepdim=True).unsqueeze(2)  # loudness does not matter
        x = F.gelu(self.enter(self.scale(x) * there)) * there
        for mix, norm in zip(self.mix, self.norms):
            x = x + F.gelu(norm(mix(x))) * there
        mean = x.sum(2) / count
        spread = torch.sqrt(((x - mean.unsqueeze(2)) ** 2 * there).sum(2) / count + 1e-3)
        most = (x - 1e4 * (1 - there)).amax(2)
        return self.out(F.dropout(torch.cat([mean, spread, most, count / 125], 1), 0.2, self.training))


def fourier(window, bins):
    """The windowed discrete Fourier transform as convolution kernels: cosines of the lowest bins, then sines."""
    t = torch.arange(window, dtype=torch.float64)
    k = torch.arange(1, bins + 1, dtype=torch.float64).unsqueeze(1)
    angle = 2 * math.pi * k * t / window
    hann = 0.5 - 0.5 * torch.cos(2 * math.pi * t / window)
    return torch.cat([torch.cos(angle) * hann, torch.sin(angle) * hann]).unsqueeze(1).float()


class Head(nn.Module):
    """The features of one modality to a rating."""

    def __init__(self):
        super().__init__()
        self.straight = nn.Linear(FEATURES, 1)
        self.hidden = nn.Linear(FEATURES, 24)
        self.out = nn.Linear(24, 1)

    def forward(self, features):
        x = self.straight(features) + self.out(F.gelu(self.hidden(features)))
        return RATING_MAX * torch.tanh(x / RATING_MAX)


class Mix(nn.Module):
    """The ratings of several modalities to one."""

    def __init__(self, modalities):
        super().__init__()
        self.straight = nn.Linear(modalities, 1)
        self.hidden = nn.Linear(modalities, 8)
        self.out = nn.Linear(8, 1)

    def forward(self, ratings):
        x = self.straight(ratings) + self.out(torch.tanh(self.hidden(ratings)))
        return RATING_MAX * torch.tanh(x / RATING_MAX)


class Sentiment(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoders = nn.ModuleDict({"text": Text(), "face": Face(), "voice": Voice()})
        self.heads = nn.ModuleDict({m: Head() for m in MODALITIES})
        self.mixes = nn.ModuleDict({name(s): Mix(len(s)) for s in SUBSETS if len(s) > 1})

    def fuse(self, subset, features):
        """The rating from the features of a subset."""
        ratings = [self.heads[m](f) for m, f in zip(subset, features)]
        return ratings[0] if len(subset) == 1 else self.mixes[name(subset)](torch.cat(ratings, 1))


class Fusion(nn.Module):
    """The head of one subset: a graph of its own."""

    def __init__(self, net, subset):
        super().__init__()
        self.net, self.subset = net, subset

    def forward(self, *features):
        return self.net.fuse(self.subset, features)
