"""Pick ordinary held-out samples as files for the command line: visibly noisy ones which the model gets right."""

import pathlib
import sys
import wave

import numpy as np
from PIL import Image

import evaluate
from speech import RATE, WORDS


def main(folder):
    folder = pathlib.Path(folder)
    out = folder / "samples"
    out.mkdir(exist_ok=True)
    samples = dict(np.load(folder / "eval" / "heldout.npz"))
    right = samples["label"] >= 0
    for name in ("text", "image", "audio", "all"):
        graph = evaluate.session(folder / "onnx" / f"{name}.onnx")
        names = [i.name for i in graph.get_inputs()]
        sure = graph.run(None, {n: samples[n] for n in names})[0][np.arange(len(right)), samples["label"]]
        right &= sure > 0.8
    typed = [bytes(codes).rstrip(b"\0").decode() for codes in samples["text"]]
    grain = np.abs(np.diff(samples["image"].astype(float), axis=2)).mean(axis=(1, 2))  # how noisy an image looks
    for digit in (3, 7):
        misspelt = [len(word) >= 4 and word != WORDS[digit] for word in typed]
        found = np.flatnonzero(right & misspelt & (samples["label"] == digit))
        best = found[np.argsort(grain[found])[int(len(found) * 0.7)]]
        Image.fromarray(samples["image"][best]).save(out / f"{WORDS[digit]}.png")
        with wave.open(str(out / f"{WORDS[digit]}.wav"), "wb") as w:
            w.setnchannels(1)
            w.setsampwidth(2)
            w.setframerate(RATE)
            w.writeframes(samples["audio"][best].astype("<i2").tobytes())
        print(f"{WORDS[digit]}: held-out sample {best}, typed '{typed[best]}'")


if __name__ == "__main__":
    main(sys.argv[1])
