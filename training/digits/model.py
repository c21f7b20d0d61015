"""One transformer over the tokens of whichever modalities are present.

Fusion is early, as in TVLT: each modality becomes a few tokens of the same width, all present tokens attend
to each other, and an absent modality's tokens are simply not there. So a subset costs what its tokens cost,
and one set of weights serves all seven subsets. Inputs are raw (bytes, PCM): every step of preprocessing,
the log-mel front end included, is a layer, so that it is in the exported graph and cannot differ in serving.
"""

import itertools
import math

import torch
from torch import nn
from torch.nn import functional as F

MODALITIES = ["audio", "image", "text"]
SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(MODALITIES, n)]
SHAPES = {"audio": (8000,), "image": (28, 28), "text": (12,)}
TYPES = {"audio": torch.int16, "image": torch.uint8, "text": torch.uint8}


def name(subset):
    """The file name of a subset's graph."""
    return "all" if len(subset) == len(MODALITIES) else "_".join(sorted(subset))


class Text(nn.Module):
    """Twelve character codes, two by two, to six tokens."""

    tokens = 6

    def __init__(self, width):
        super().__init__()
        self.code = nn.Embedding(128, 32)
        self.pair = nn.Conv1d(32, width, kernel_size=4, stride=2, padding=1)

    def forward(self, text):
        # Any byte is an answerable input: codes beyond ASCII count as the last one.
        return self.pair(self.code(text.int().clamp(max=127)).transpose(1, 2)).transpose(1, 2)


class Image(nn.Module):
    """28x28 bytes, standardised one by one, to a 4x4 grid of tokens by four small convolutions."""

    tokens = 16

    def __init__(self, width):
        super().__init__()
        self.width = width
        step = lambda i, o, kernel, stride: [nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(o)]
        self.stem = nn.Sequential(*step(1, 16, 5, 2), nn.GELU(), *step(16, 32, 3, 1), nn.GELU(),
                                  *step(32, 64, 3, 2), nn.GELU(), *step(64, width, 3, 2))

    def forward(self, image):
        x = image.float().unsqueeze(1)
        x = x - x.mean(dim=(2, 3), keepdim=True)
        x = x / torch.sqrt((x * x).mean(dim=(2, 3), keepdim=True) + 16)
        return self.stem(x).reshape(-1, self.width, self.tokens).transpose(1, 2)


class Audio(nn.Module):
    """One second of 8 kHz PCM to 125 tokens: log-mel frames every 8 ms, then a convolution over time."""

    tokens = 125
    window, hop, bands = 256, 64, 40

    def __init__(self, width):
        super().__init__()
        self.register_buffer("fourier", fourier(self.window))
        self.register_buffer("mel", mel_filters(self.window // 2, self.bands))
        self.scale = nn.BatchNorm1d(self.bands)
        self.frames = nn.Conv1d(self.bands, width, kernel_size=5, padding=2)
        self.mix = nn.Linear(width, width)

    def forward(self, audio):
        x = (audio.float() * (1 / 32768)).unsqueeze(1)
        pad = (self.window - self.hop) // 2
        parts = F.conv1d(x, self.fourier, stride=self.hop, padding=pad)
        power = (parts * parts).transpose(1, 2) @ self.mel  # real and imaginary parts are both summed by mel
        x = torch.log(power + 1e-5).transpose(1, 2)
        x = self.scale(x - x.mean(dim=(1, 2), keepdim=True))  # gain does not matter
        return self.mix(F.gelu(self.frames(x).transpose(1, 2)))


def fourier(window):
    """The windowed discrete Fourier transform as convolution kernels: cosines, then sines."""
    t = torch.arange(window, dtype=torch.float64)
    k = torch.arange(1, window // 2 + 1, dtype=torch.float64).unsqueeze(1)
    angle = 2 * math.pi * k * t / window
    hann = 0.5 - 0.5 * torch.cos(2 * math.pi * t / window)
    return torch.cat([torch.cos(angle) * hann, torch.sin(angle) * hann]).unsqueeze(1).float()


def mel_filters(bins, bands, rate=8000):
    """Triangular mel filters, 60 Hz to 4 kHz, once for the cosine powers and once for the sine powers."""
    mel = lambda f: 2595 * math.log10(1 + f / 700)
    points = torch.linspace(mel(60), mel(rate / 2), bands + 2, dtype=torch.float64)
    edges = 700 * (10 ** (points / 2595) - 1)
    f = (torch.arange(1, bins + 1, dtype=torch.float64) * rate / (2 * bins)).unsqueeze(1)
    rise = (f - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - f) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rise, fall).clamp(min=0).float()
    return torch.cat([filters, filters])


class Block(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, width, heads):
        super().__init__()
        self.width, self.heads = width, heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, tokens):
        """x is [batch * tokens, width]: flat rows make each linear layer one matrix product."""
        width, each = self.width, self.width // self.heads
        q, k, v = (t.reshape(-1, tokens, self.heads, each).transpose(1, 2)
                   for t in self.qkv(self.norm1(x)).split(width, dim=1))
        if torch.onnx.is_in_onnx_export():
            mixed = torch.softmax((q * each**-0.5) @ k.transpose(2, 3), dim=-1) @ v
        else:  # in float32 even when the rest trains in bfloat16: its backward pass is quicker on CPUs
            with torch.autocast("cpu", enabled=False):
                mixed = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
        x = x + self.out(mixed.transpose(1, 2).reshape(-1, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Digits(nn.Module):
    def __init__(self, width=160, layers=4, heads=5):
        super().__init__()
        self.width = width
        self.embed = nn.ModuleDict({"audio": Audio(width), "image": Image(width), "text": Text(width)})
        self.place = nn.ParameterDict(
            {m: nn.Parameter(0.02 * torch.randn(self.embed[m].tokens, width)) for m in MODALITIES})
        self.cls = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, inputs, keep=None):
        """Logits for a dictionary of the modalities that are present.

        keep, in training only, names the audio tokens to use: a sparse second costs far less to learn from.
        """
        present = [m for m in MODALITIES if m in inputs]
        parts = [self.embed[m](inputs[m]) + self.place[m] for m in present]
        if keep is not None and "audio" in inputs:
            parts[0] = parts[0][:, keep]
        x = torch.cat([self.cls.expand(parts[0].shape[0], 1, self.width), *parts], dim=1)
        tokens = int(x.shape[1])
        x = x.reshape(-1, self.width)
        for block in self.blocks:
            x = block(x, tokens)
        first = x.reshape(-1, tokens, self.width)[:, 0]
        return self.head(self.norm(first))
