"""The server under test, and real samples of the model digits that it serves.

The runner says both in the environment: the addresses in MOSEL_REST and
MOSEL_GRPC, the samples as a JSON file in MOSEL_SAMPLES.
"""

import base64
import itertools
import json
import os

REST = os.environ["MOSEL_REST"]
GRPC = os.environ["MOSEL_GRPC"]
MODEL = "digits"

# Datatype and shape of one item, by input. Each is a modality of its own.
INPUTS = {"image": ("UINT8", [28, 28]), "audio": ("INT16", [8000]), "text": ("UINT8", [12])}

# Every non-empty subset of the modalities: the model has a variant for each.
SUBSETS = [list(s) for n in (1, 2, 3) for s in itertools.combinations(INPUTS, n)]


class Sample:
    """One item: its bytes by input, little-endian, and what it is."""

    def __init__(self, fields):
        self.label = fields["label"]
        self.data = {name: base64.b64decode(fields[name]) for name in INPUTS}


with open(os.environ["MOSEL_SAMPLES"], encoding="ascii") as file:
    SAMPLES = [Sample(fields) for fields in json.load(file)]

# What models/digits/samples has as files; every variant gets these two right.
SEVEN, THREE = SAMPLES[:2]


def array(name, samples):
    """One input of several items as a numpy array [items, ...]."""
    import numpy

    datatype, shape = INPUTS[name]
    kind = {"UINT8": "u1", "INT16": "<i2"}[datatype]
    return numpy.frombuffer(b"".join(s.data[name] for s in samples), kind).reshape([len(samples), *shape])


def right(probabilities, samples):
    """How many rows of probabilities are highest at their sample's label."""
    return sum(int(row.argmax()) == s.label for row, s in zip(probabilities, samples))
