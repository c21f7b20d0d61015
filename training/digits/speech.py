"""Speak the ten digit words with every voice three free synthesisers offer, once, at 8 kHz.

A voice is the unit of the split: whatever a voice ever says is in one split only, so an accuracy measured
on held-out clips is an accuracy on speakers never heard. espeak-ng's variants are grouped by family (iven,
iven2, ... are one voice with small changes), and the diphone speakers which flite and festival share count
as one voice. Clean clips are kept; noise, rooms and speed changes are added by degrade.py.
"""

import concurrent.futures
import io
import pathlib
import re
import subprocess
import sys
import tempfile
import wave

import numpy as np

RATE = 8000
LONGEST = 7600  # samples: 0.95 s, so that a clip fits the 1 s the model hears
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SPLITS = ["train", "profile", "heldout"]
ACCENTS = ["en-gb", "en-us", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029", "en-us-nyc"]
# The speakers of flite and festival, and the split each belongs to.
SPEAKERS = {"kal": "train", "slt": "train", "ked": "heldout", "awb": "profile", "rms": "heldout"}
FLITE = {"kal": "kal", "kal16": "kal", "slt": "slt", "awb": "awb", "rms": "rms"}
FESTIVAL = {"voice_kal_diphone": "kal", "voice_ked_diphone": "ked", "voice_cmu_us_slt_arctic_hts": "slt"}
SKIPPED = {"fast", "whisper", "whisperf"}  # ways of speaking, not voices


def family(variant):
    """The voice an espeak-ng variant belongs to: its name without a number or 'robot' at the end."""
    stem = re.sub(r"(robot)?\d*$", "", variant.lower())
    return stem if len(stem) > 1 else variant.lower()  # f1 ... m8 are different people


def espeak_voices(rng):
    """Map each espeak-ng variant to its split: families are shuffled, then cut 60/20/20."""
    listing = subprocess.run(["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True).stdout
    variants = sorted(set(re.findall(r"!v/(\S+)", listing)) - SKIPPED)
    families = sorted({family(v) for v in variants})
    order = rng.permutation(len(families))
    cut = [int(len(families) * 0.6), int(len(families) * 0.8)]
    split = {families[k]: SPLITS[int(np.searchsorted(cut, i, side="right"))] for i, k in enumerate(order)}
    return {v: split[family(v)] for v in variants}


def espeak_settings(accent, rng):
    speed, pitch = int(rng.integers(120, 200)), int(rng.integers(25, 75))
    return accent, speed, pitch, str(rng.choice([".", "?", "!", ","]))


def plan(rng):
    """List every clip to make: (split, synthesiser, voice, digit, settings)."""
    clips = []
    for variant, split in espeak_voices(rng).items():
        for accent in ACCENTS * (2 if split == "train" else 1):
            for digit in range(10):
                clips.append((split, "espeak", variant, digit, espeak_settings(accent, rng)))
    for synthesiser, voices in (("flite", FLITE), ("festival", FESTIVAL)):
        for voice, speaker in voices.items():
            for digit in range(10):
                for stretch in rng.uniform(0.75, 1.3, size=20):
                    f0 = float(rng.uniform(0.8, 1.25))
                    clips.append((SPEAKERS[speaker], synthesiser, voice, digit, (round(float(stretch), 2), round(f0, 2))))
    return clips


def more(first, rng):
    """List more clips of the voices of the profile split, so that its 9,000 samples need none twice."""
    clips = []
    for voice in sorted({c[2] for c in first if c[0] == "profile" and c[1] == "espeak"}):
        for accent in ACCENTS * 3:
            for digit in range(10):
                clips.append(("profile", "espeak", voice, digit, espeak_settings(accent, rng)))
    for voice in sorted({c[2] for c in first if c[0] == "profile" and c[1] == "flite"}):
        for digit in range(10):
            for stretch in rng.uniform(0.75, 1.3, size=160):
                clips.append(("profile", "flite", voice, digit, (round(float(stretch), 2), round(float(rng.uniform(0.8, 1.25)), 2))))
    return clips


def resample(x, rate):
    """Band-limited resampling to 8 kHz by cutting the spectrum."""
    n = int(round(len(x) * RATE / rate))
    spectrum = np.fft.rfft(x)[: n // 2 + 1]
    return np.fft.irfft(spectrum, n) * (n / len(x))


def read_clip(data):
    """Decode a WAV, bring it to 8 kHz, cut the silence around the word, and set the peak."""
    with wave.open(io.BytesIO(data)) as w:
        rate = w.getframerate()
        x = np.frombuffer(w.readframes(w.getnframes()), dtype="<i2").astype(np.float64)
    x = resample(x, rate)
    loud = np.flatnonzero(np.abs(x) > 0.02 * np.abs(x).max())
    x = x[max(loud[0] - 80, 0) : loud[-1] + 160][:LONGEST]
    return np.round(x * (20000 / np.abs(x).max())).astype(np.int16)


def espeak(voice, digit, settings):
    accent, speed, pitch, mark = settings
    command = ["espeak-ng", "-v", f"{accent}+{voice}", "-s", str(speed), "-p", str(pitch), "--stdout", WORDS[digit] + mark]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    frames = len(data) - 44  # a pipe cannot be rewound, so the header lacks the true size
    return read_clip(data[:40] + frames.to_bytes(4, "little") + data[44:])


FLITE_F0 = {"kal": 105, "kal16": 105, "slt": 175, "awb": 130, "rms": 100}


def flite(voice, digit, settings):
    stretch, f0 = settings
    with tempfile.NamedTemporaryFile(suffix=".wav") as out:
        subprocess.run(["flite", "-voice", voice, "--setf", f"duration_stretch={stretch}", "--setf",
                        f"int_f0_target_mean={FLITE_F0[voice] * f0}", "-t", WORDS[digit], "-o", out.name], check=True)
        return read_clip(pathlib.Path(out.name).read_bytes())


def festival(clips):
    """Festival starts slowly: one process speaks all of its clips."""
    with tempfile.TemporaryDirectory() as folder:
        script, last = [], None
        for i, (_, _, voice, digit, (stretch, _)) in enumerate(clips):
            if voice != last:
                script.append(f"({voice})")
                last = voice
            script.append(f"(Parameter.set 'Duration_Stretch {stretch})")
            script.append(f'(utt.save.wave (SynthText "{WORDS[digit]}") "{folder}/{i}.wav" \'riff)')
        subprocess.run(["festival", "--pipe"], input="\n".join(script), text=True, check=True)
        return [read_clip(pathlib.Path(folder, f"{i}.wav").read_bytes()) for i in range(len(clips))]


def one(clip):
    _, synthesiser, voice, digit, settings = clip
    return espeak(voice, digit, settings) if synthesiser == "espeak" else flite(voice, digit, settings)


def speak(clips):
    """Make the clips of a list in which those of festival are last."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        spoken = list(pool.map(one, [c for c in clips if c[1] != "festival"]))
    last = [c for c in clips if c[1] == "festival"]
    return spoken + (festival(last) if last else [])


def main(out):
    clips = plan(np.random.default_rng(1))
    extra = more(clips, np.random.default_rng(2))  # of a generator of its own: the clips of plan stay what they are
    spoken = speak(clips) + speak(extra)
    clips += extra
    voices = [c[1] + "/" + c[2] for c in clips]
    lengths = np.array([len(x) for x in spoken])
    np.savez(out, pcm=np.concatenate(spoken), start=np.cumsum(lengths) - lengths, length=lengths,
             label=np.array([c[3] for c in clips]), voice=np.array(voices), split=np.array([c[0] for c in clips]))
    for split in SPLITS:
        mine = sorted({v for v, c in zip(voices, clips) if c[0] == split})
        print(f"{split}: {sum(c[0] == split for c in clips)} clips, {len(mine)} voices: {' '.join(mine)}")


if __name__ == "__main__":
    main(sys.argv[1])
