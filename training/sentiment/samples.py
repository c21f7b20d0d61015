"""Write two held-out samples as files for the command line: a negative and a positive one that every variant gets right."""

import pathlib
import sys
import wave

import numpy as np
from PIL import Image

import evaluate
import model
import speech


def main(folder):
    out = pathlib.Path(folder, "samples")
    out.mkdir(exist_ok=True)
    samples = dict(np.load(pathlib.Path(folder, "eval/heldout.npz")))
    first = {m: samples[m][:200] for m in model.MODALITIES}
    label = samples["label"][:200]
    good = np.abs(label) > 1.5
    for subset in model.SUBSETS:
        good &= evaluate.right(evaluate.Variant(folder, subset).run(first), label)
    for name, wanted in (("negative", label < 0), ("positive", label >= 0)):
        at = int(np.flatnonzero(good & wanted)[0])
        (out / f"{name}.txt").write_bytes(bytes(samples["text"][at]).rstrip(b"\0"))
        Image.fromarray(samples["face"][at]).save(out / f"{name}.png")
        sound = samples["voice"][at]
        sound = sound[: np.flatnonzero(sound)[-1] + 1]
        with wave.open(str(out / f"{name}.wav"), "wb") as w:
            w.setnchannels(1)
            w.setsampwidth(2)
            w.setframerate(speech.RATE)
            w.writeframes(sound.astype("<i2").tobytes())
        print(f"{name}: held-out sample {at}, rated {label[at]:.2f}: {(out / f'{name}.txt').read_text()!r}")


if __name__ == "__main__":
    main(sys.argv[1])
