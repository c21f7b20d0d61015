"""Speak the first words of texts with espeak-ng, in a tone that follows the rating, at 4 kHz.

A voice is the unit of the split: what a voice ever says is in one split only. espeak-ng's variants are grouped by
family (iven, iven2, ... are one voice with small changes). The tone of a clip is the rating plus chance: people do not
always sound as they feel, and two seconds do not tell all. A higher tone is a wider range of pitch, a higher pitch, faster
speech and more exclamation marks, each only on average. 4 kHz keeps the melody and loses most of the words.
"""

import concurrent.futures
import io
import re
import subprocess
import sys
import wave
from xml.sax.saxutils import escape

import numpy as np

import corpus

RATE = 4000
LONGEST = 8000  # samples: 2 s
CLIPS = 5000  # of the training split
ACCENTS = ["en-gb", "en-us", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029", "en-us-nyc"]
SKIPPED = {"fast", "whisper", "whisperf"}  # ways of speaking, not voices
CHANCE = 1.6  # standard deviation of the tone around the rating, on the scale of ratings
TONE_MAX = 5.0
SEED = 1


def family(variant):
    """The voice an espeak-ng variant belongs to: its name without a number or 'robot' at the end."""
    stem = re.sub(r"(robot)?\d*$", "", variant.lower())
    return stem if len(stem) > 1 else variant.lower()  # f1 ... m8 are different people


def voices(rng):
    """The variants of each split: families are shuffled, then cut 60/20/20."""
    listing = subprocess.run(["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True).stdout
    variants = sorted(set(re.findall(r"!v/(\S+)", listing)) - SKIPPED)
    families = sorted({family(v) for v in variants})
    order = rng.permutation(len(families))
    cut = [int(len(families) * 0.6), int(len(families) * 0.8)]
    split = {families[k]: corpus.SPLITS[int(np.searchsorted(cut, i, side="right"))] for i, k in enumerate(order)}
    return {s: [v for v in variants if split[family(v)] == s] for s in corpus.SPLITS}


def words(text, rng):
    """Two to six words from the start of a text, without links, names of users and signs."""
    text = re.sub(r"https?://\S+|@\w+", " ", text)
    found = re.findall(r"[A-Za-z0-9'-]*[A-Za-z0-9]", text)
    return " ".join(found[: int(rng.integers(2, 7))]) or "oh"


def tone(rating, rng):
    """How positive a clip sounds."""
    return float(np.clip(rating + CHANCE * rng.standard_normal(), -TONE_MAX, TONE_MAX))


def command(text, tone, voice, rng):
    """The espeak-ng call of one clip."""
    high = tone / TONE_MAX  # -1 to 1
    wide = int(100 * np.exp(0.9 * high + 0.15 * rng.standard_normal()))
    pitch = int(45 + 14 * high + 8 * rng.standard_normal())
    speed = int(165 + 28 * high + 12 * rng.standard_normal())
    mark = "!" if rng.random() < 0.5 + 0.4 * high else "."
    accent = ACCENTS[int(rng.integers(len(ACCENTS)))]
    said = f'<speak><prosody range="{wide}%">{escape(text)}{mark}</prosody></speak>'
    return ["espeak-ng", "-m", "-v", f"{accent}+{voice}", "-s", str(max(80, speed)), "-p", str(min(max(pitch, 0), 99)), "--stdout", said]


def resample(x, rate):
    """Band-limited resampling by cutting the spectrum."""
    n = int(round(len(x) * RATE / rate))
    return np.fft.irfft(np.fft.rfft(x)[: n // 2 + 1], n) * (n / len(x))


def speak(call):
    """Run one call and read its sound: the silence around it cut off, at most 2 s, peak 1."""
    data = subprocess.run(call, capture_output=True, check=True).stdout
    data = data[:40] + (len(data) - 44).to_bytes(4, "little") + data[44:]  # a pipe cannot be rewound: the header lacks the size
    with wave.open(io.BytesIO(data)) as w:
        x = np.frombuffer(w.readframes(w.getnframes()), dtype="<i2").astype(np.float64)
        rate = w.getframerate()
    x = resample(x, rate)
    loud = np.flatnonzero(np.abs(x) > 0.02 * np.abs(x).max())
    x = x[max(loud[0] - 40, 0) : loud[-1] + 80][:LONGEST]
    return np.round(x * (20000 / np.abs(x).max())).astype(np.int16)


def plan(folder):
    """List every clip: (split, index of the text in its split or -1, tone, voice, call).

    Labelled texts are spoken in the tone of their own rating. Clips for training have tones all over the scale: a training
    text is given a clip of the tone that its rating asks for, another one each time.
    """
    rng = np.random.default_rng(SEED)
    speakers, texts = voices(rng), corpus.tweets(folder)
    clips = []
    pool = [t for t, _ in texts["train"] + corpus.others(folder)]
    for _ in range(CLIPS):
        text = words(pool[int(rng.integers(len(pool)))], rng)
        t, voice = float(rng.uniform(-TONE_MAX, TONE_MAX)), str(rng.choice(speakers["train"]))
        clips.append(("train", -1, t, voice, command(text, t, voice, rng)))
    for split in corpus.COUNTS:
        for i, (text, rating) in enumerate(texts[split]):
            t, voice = tone(rating, rng), str(rng.choice(speakers[split]))
            clips.append((split, i, t, voice, command(words(text, rng), t, voice, rng)))
    return clips


def main(folder, out):
    clips = plan(folder)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        spoken = list(pool.map(speak, [c[-1] for c in clips]))
    lengths = np.array([len(x) for x in spoken])
    np.savez(out, pcm=np.concatenate(spoken), start=np.cumsum(lengths) - lengths, length=lengths,
             split=np.array([c[0] for c in clips]), text=np.array([c[1] for c in clips]), tone=np.array([c[2] for c in clips]),
             voice=np.array([c[3] for c in clips]))
    for split in corpus.SPLITS:
        mine = sorted({c[3] for c in clips if c[0] == split})
        print(f"{split}: {sum(c[0] == split for c in clips)} clips, {len(mine)} voices: {' '.join(mine)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
