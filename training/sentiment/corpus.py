"""Texts with the mean of many people's ratings, and their division into splits.

The ratings are those of the paper that made VADER (Hutto and Gilbert, 2014): at least 20 people, 15 for the movie
reviews, rated each text from -4, extremely negative, to 4, extremely positive. Tweets are the texts of the labelled
sets. Reviews, newspaper sentences and the rated words of the lexicon only help to train.
"""

import html
import pathlib
import re

import numpy as np

SPLITS = ("train", "profile", "heldout")
LENGTH = 160  # bytes of the longest text; one tweet has 162 with its entities
CLEAR = 0.5  # a mean rating nearer to zero than this has no sign that people agree on
COUNTS = {"profile": 2000, "heldout": 1000}  # the other tweets train
OTHERS = ("amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets")
SEED = 3


def read(folder, name):
    """The texts and mean ratings of one of the files."""
    lines = pathlib.Path(folder, f"{name}_GroundTruth.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [line.split("\t", 2) for line in lines if line.count("\t") >= 2]
    return [(html.unescape(text).strip(), float(rating)) for _, rating, text in rows]


def lexicon(folder):
    """Single words and emoticons with their mean ratings."""
    lines = pathlib.Path(folder, "vader_sentiment_lexicon.txt").read_text(encoding="latin1").splitlines()
    rows = [line.split("\t") for line in lines if "\t" in line]
    return [(row[0], float(row[1])) for row in rows]


def plain(text):
    """What makes two texts the same for the split: letters and digits only."""
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def tweets(folder):
    """Each split's tweets with a clear rating; a text that occurs twice is used once."""
    once = {plain(text): (text, rating) for text, rating in read(folder, "tweets") if abs(rating) >= CLEAR}
    kept = [once[key] for key in sorted(once)]
    kept = [kept[i] for i in np.random.default_rng(SEED).permutation(len(kept))]
    held = COUNTS["profile"] + COUNTS["heldout"]
    return {"profile": kept[: COUNTS["profile"]], "heldout": kept[COUNTS["profile"] : held], "train": kept[held:]}


def others(folder):
    """What else trains: texts of other kinds that are no tweet of a labelled set."""
    labelled = {plain(text) for split in COUNTS for text, _ in tweets(folder)[split]}
    return [row for name in OTHERS for row in read(folder, name) if plain(row[0]) not in labelled]


def codes(text):
    """A text as its bytes, zeros after its end."""
    data = text.encode("utf-8")[:LENGTH]
    return np.frombuffer(data.ljust(LENGTH, b"\0"), np.uint8)
