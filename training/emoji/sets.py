"""Write the labelled sets that ship with the package, and two of their samples as files to try."""

import pathlib
import sys

import numpy as np
from PIL import Image

import data
import features

SAMPLES = 1100  # of each set, which is in random order
TRY = {10: "comet", 183: "cook"}  # held-out samples as files


def main(work, folder):
    work, folder = pathlib.Path(work), pathlib.Path(folder)
    (folder / "eval").mkdir(parents=True, exist_ok=True)
    tok = features.tokenizer((folder / "tokenizer.json").read_bytes())
    tok.enable_padding(length=features.LENGTH)
    for name in ("profile", "heldout"):
        s = {k: v[:SAMPLES] for k, v in np.load(work / f"{name}.npz").items()}
        ids, mask = features.ids(tok, s["text"])
        np.savez_compressed(folder / "eval" / f"{name}.npz", image=s["image"], input_ids=ids.numpy(),
                            attention_mask=mask.numpy(), label=s["label"], text=s["text"], vendor=s["vendor"])
        for i, title in TRY.items() if name == "heldout" else ():
            (folder / "samples").mkdir(exist_ok=True)
            Image.fromarray(s["image"][i]).save(folder / "samples" / f"{title}.jpg", quality=95)
            (folder / "samples" / f"{title}.txt").write_text(s["text"][i] + "\n")
        print(name, len(ids), "lengths", np.bincount(mask.sum(1).numpy()))


if __name__ == "__main__":
    main(*sys.argv[1:])
