"""Fit the shipped model: the first fold, seed 0."""

import sys

import numpy as np

import data
import model


def main(folder, out):
    views, label = data.load(folder)
    rows = data.split(views, label, data.SHIPPED)["train"]
    np.savez(out, **model.Model.fit(data.take(views, rows), label[rows], seed=0).w)


if __name__ == "__main__":
    main(*sys.argv[1:])
