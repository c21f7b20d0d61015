"""Write the views of two held-out digits as .npy files."""

import pathlib
import sys

import numpy as np

import data

SHOWN = (3, 7)


def main(out):
    out = pathlib.Path(out)
    held = dict(np.load(out / "eval" / "heldout.npz"))
    for digit in SHOWN:
        row = np.flatnonzero(held["label"] == digit)[0]
        folder = out / "samples" / data.CLASSES[digit]
        folder.mkdir(parents=True, exist_ok=True)
        for view in data.VIEWS:
            np.save(folder / f"{view}.npy", held[view][row])


if __name__ == "__main__":
    main(*sys.argv[1:])
