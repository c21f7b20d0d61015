"""Spoil images and clips, a batch at a time, with noise whose strength differs from sample to sample.

The three splits are spoiled by these same functions with the same settings. Strengths are drawn per sample
and per modality, so that one modality is often clear where another is hopeless: that is what makes a second
modality worth its cost.
"""

import math

import torch
from torch.nn import functional as F

RATE, LENGTH = 8000, 8000


def uniform(low, high, shape, rng):
    return low + (high - low) * torch.rand(shape, generator=rng)


def bend(x, rng):
    """Training only: turn, scale, shear and shift images [n, 28, 28] in 0..1 a little."""
    n = len(x)
    angle, shear = uniform(-0.22, 0.22, n, rng), uniform(-0.2, 0.2, n, rng)
    wide, high = uniform(0.88, 1.15, n, rng), uniform(0.88, 1.15, n, rng)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = wide * angle.cos(), -angle.sin() + shear
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin(), high * angle.cos()
    theta[:, :, 2] = uniform(-0.12, 0.12, (n, 2), rng)
    warp = F.interpolate(torch.randn(n, 2, 4, 4, generator=rng) * 0.05, size=(28, 28), mode="bicubic", align_corners=True)
    grid = F.affine_grid(theta, (n, 1, 28, 28), align_corners=False) + warp.permute(0, 2, 3, 1)
    return F.grid_sample(x.unsqueeze(1), grid, align_corners=False).squeeze(1)


def images(x, rng):
    """Blur, low contrast, a bar or patch laid over, and sensor noise: [n, 28, 28] in 0..1 to bytes."""
    n = len(x)
    one = lambda low, high: uniform(low, high, (n, 1, 1), rng)
    soft = F.avg_pool2d(x.unsqueeze(1), 3, stride=1, padding=1).squeeze(1)
    blur = one(-0.6, 1).clamp(min=0)
    x = x * (1 - blur) + soft * blur
    paper, ink = one(0.1, 0.5), one(0.2, 0.6)
    x = paper + ink * x
    rows = torch.arange(28).view(1, 28, 1)
    columns = torch.arange(28).view(1, 1, 28)
    tall, wide = one(3, 15), one(3, 15)
    top, left = one(-3, 28) - tall / 3, one(-3, 28) - wide / 3
    covered = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    covered &= one(0, 1) < 0.7
    x = torch.where(covered, one(0.1, 0.9).expand_as(x), x)
    x = x + torch.randn(x.shape, generator=rng) * one(0.02, 0.145)
    return (x * 255).round().clamp(0, 255).to(torch.uint8)


def place(pcm, start, length, rng):
    """Cut clips out of one long tensor, play each at its own speed, and put each somewhere in a second."""
    n = len(start)
    speed = uniform(0.85, 1.18, n, rng).unsqueeze(1)
    spoken = (length.unsqueeze(1) / speed).clamp(max=LENGTH)
    begin = torch.rand(n, 1, generator=rng) * (LENGTH - spoken)
    at = (torch.arange(LENGTH).unsqueeze(0) - begin) * speed
    inside = (at >= 0) & (at < length.unsqueeze(1) - 1)
    at = torch.where(inside, at, torch.zeros_like(at))
    low = at.long()
    first = pcm[start.unsqueeze(1) + low].float()
    second = pcm[(start.unsqueeze(1) + low + 1).clamp(max=len(pcm) - 1)].float()
    return torch.where(inside, first + (second - first) * (at - low), torch.zeros_like(at)) / 32768


def room(n, rng, taps=1600):
    """Impulse responses of small to large rooms: the direct sound, then decaying noise."""
    t = torch.arange(taps) / RATE
    decay = uniform(0.03, 0.25, (n, 1), rng)  # seconds to fall by 30 dB
    echo = torch.randn(n, taps, generator=rng) * torch.exp(-3.45 * t / decay) * uniform(0.0, 0.25, (n, 1), rng)
    echo[:, :8] = 0
    echo[:, 0] = 1
    return echo


def background(n, rng):
    """Noise of unit power whose spectrum falls by 0 to 2 powers of the frequency, with a hum or a tone in some."""
    spectrum = torch.fft.rfft(torch.randn(n, LENGTH, generator=rng))
    f = torch.arange(spectrum.shape[1]).clamp(min=40) / 40
    noise = torch.fft.irfft(spectrum * f ** -uniform(0.0, 1.0, (n, 1), rng), LENGTH)
    noise = noise / noise.std(dim=1, keepdim=True)
    t = torch.arange(LENGTH) / RATE
    tone = torch.sin(2 * math.pi * uniform(80, 1500, (n, 1), rng) * t + uniform(0, 6.28, (n, 1), rng))
    slow = 1 + 0.8 * torch.sin(2 * math.pi * uniform(0.5, 4, (n, 1), rng) * t + uniform(0, 6.28, (n, 1), rng))
    share = uniform(-1.0, 0.7, (n, 1), rng).clamp(min=0)
    return noise * slow * (1 - share) + tone * 1.4 * share


def telephone(x):
    """Six-bit mu-law there and back, as a poor digital line does: [-1, 1] to int16."""
    companded = torch.sign(x) * torch.log1p(255 * x.abs()) / math.log(256)
    steps = (companded * 31).round() / 31
    return (torch.sign(steps) * torch.expm1(steps.abs() * math.log(256)) / 255 * 32767).round().to(torch.int16)


def steps(x, noise, gain):
    """Round clips [n, 8000] to steps as large as their noise [n, 1], and set the peak: to int16."""
    whole = (x / noise).round()
    return (whole / whole.abs().amax(dim=1, keepdim=True) * gain * 32767).round().to(torch.int16)


def audio(pcm, start, length, rng, coarse=False):
    """Words as a cheap telephone in a noisy room hears them: int16 [n, 8000].

    With coarse, the telephone rounds to equal steps as large as the noise, which needs half the space of six-bit
    mu-law. Such rounding adds a twelfth of the noise's power, so the background gets less by as much.
    """
    x = place(pcm, start, length, rng)
    n = len(x)
    x = torch.fft.irfft(torch.fft.rfft(x, 9600) * torch.fft.rfft(room(n, rng), 9600), 9600)[:, :LENGTH]
    x = x / x.pow(2).mean(dim=1, keepdim=True).sqrt()
    noise = 10 ** (-uniform(-3, 15, (n, 1), rng) / 20)
    x = x + background(n, rng) * noise * (math.sqrt(11 / 12) if coarse else 1)
    gain = 10 ** (uniform(-18, 0, (n, 1), rng) / 20)
    return steps(x, noise, gain) if coarse else telephone(x / x.abs().amax(dim=1, keepdim=True) * gain)
