"""Pictures and words of emojis, split so that nothing that looks alike is on both sides.

A sample is one emoji as one vendor draws it, with one to five of the words that people find it by. Its
class is the emoji's group in Unicode. All drawings of an emoji are in one split, and so are emojis that
share a family (a person's gender, a gesture's hand) or that some vendor draws nearly alike (24 clocks).
"""

import collections
import json
import pathlib
import random
import re

import numpy as np
from PIL import Image

SIZE = 64
SEED = 5
SPLITS = (("train", 0.5), ("profile", 0.25), ("heldout", 0.25))  # shares of the emojis
MOST_WORDS = 5
VENDORS = {
    "noto": ("emoji-datasource-google", "img/google/64", "png"),
    "twemoji": ("emoji-datasource-twitter", "img/twitter/64", "png"),
    "fluent": ("fluent-emoji-3d", "assets", "webp"),
}
CLASSES = ("smileys-emotion", "people-body", "animals-nature", "food-drink", "travel-places", "activities", "objects",
           "symbols", "flags")
GROUPS = (0, 1, 3, 4, 5, 6, 7, 8, 9)  # of emojibase, in the order of CLASSES; 2 is parts of emojis, such as hair
# Words of a class's own name, which would give the answer away.
NAMES = set("smiley smileys emotion emotions people person body animal animals nature food drink drinks travel "
            "place places activity activities object objects symbol symbols flag flags".split())
# Code points that only vary an emoji: selectors, joiners, skin, gender, direction, and the person who does something.
VARY = {0xFE0F, 0x200D, 0x2640, 0x2642, 0x27A1, *range(0x1F3FB, 0x1F400)}
PERSONS = {0x1F466, 0x1F467, 0x1F468, 0x1F469, 0x1F9D1, 0x1F9D2}
ALIKE = 0.97  # correlation of two drawings from which they count as one
THUMB = 24  # pixels on a side, for that correlation


def key(code):
    """A file's or an emoji's code points without the selectors that some vendors leave out."""
    return tuple(c for c in (int(x, 16) for x in code.split("-")) if c != 0xFE0F)


def family(code):
    """What an emoji and its variations have in common."""
    left = [c for c in key(code) if c not in VARY]
    return tuple(sorted(set(left) - PERSONS)) or tuple(left[:1]) or key(code)


def words(emoji):
    """What a person may type to find an emoji, without the name of its class."""
    text = " ".join([emoji["label"], *emoji.get("tags", [])]).lower()
    found = re.findall(r"[^\s:,“”\"()|]+", text)
    return sorted({w for w in found if w not in NAMES and not NAMES & set(w.split("-"))})


def picture(path):
    """A drawing on white."""
    with Image.open(path) as file:
        drawing = file.convert("RGBA").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    paper = Image.new("RGBA", drawing.size, "white")
    return np.asarray(Image.alpha_composite(paper, drawing).convert("RGB"))


def emojis(folder):
    """Every emoji that a vendor draws: code, class, words, pictures by vendor."""
    files = {}
    for vendor, (package, under, kind) in VENDORS.items():
        files[vendor] = {key(p.stem): p for p in pathlib.Path(folder, package, under).glob(f"*.{kind}")}
    found = []
    for e in json.loads(pathlib.Path(folder, "emojibase-data/en/data.json").read_text()):
        if e.get("group") not in GROUPS or not words(e):
            continue
        drawn = {v: picture(f[key(e["hexcode"])]) for v, f in files.items() if key(e["hexcode"]) in f}
        if drawn:
            found.append({"code": e["hexcode"], "label": GROUPS.index(e["group"]), "words": words(e), "drawn": drawn})
    return found


def looks(pictures):
    """Unit vectors whose products are the correlations of drawings, small and in tones of grey."""
    small = [np.asarray(Image.fromarray(p).convert("L").resize((THUMB, THUMB), Image.Resampling.BOX), float) for p in pictures]
    flat = np.stack(small).reshape(len(small), -1)
    flat -= flat.mean(1, keepdims=True)
    return flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-9)


def families(found):
    """A number for each emoji; emojis of one family or of one look have the same."""
    parent = list(range(len(found)))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first = {}
    for i, e in enumerate(found):
        parent[root(i)] = root(first.setdefault(family(e["code"]), i))
    for vendor in VENDORS:
        have = [i for i, e in enumerate(found) if vendor in e["drawn"]]
        v = looks([found[i]["drawn"][vendor] for i in have])
        for a, b in zip(*np.where(np.triu(v @ v.T, 1) > ALIKE)):
            parent[root(have[a])] = root(have[b])
    return [root(i) for i in range(len(found))]




def split(found):
    """The emojis of each split: whole families, so that every split has its share of each class.

    Of each class, the largest families come first, in random order where sizes are equal; each goes where most is missing.
    """
    members = {}
    for e, root in zip(found, families(found)):
        members.setdefault(root, []).append(e)
    groups = list(members.values())
    random.Random(SEED).shuffle(groups)
    groups.sort(key=len, reverse=True)
    size = collections.Counter(e["label"] for e in found)
    missing = {(name, label): share * n for name, share in SPLITS for label, n in size.items()}
    chosen = {name: [] for name, _ in SPLITS}
    for group in groups:
        label = collections.Counter(e["label"] for e in group).most_common(1)[0][0]
        name = max(chosen, key=lambda n: missing[n, label])
        missing[name, label] -= len(group)
        chosen[name] += group
    return chosen


def draw(emoji, rng):
    """Some of an emoji's words, in random order."""
    return " ".join(rng.sample(emoji["words"], min(rng.randint(1, MOST_WORDS), len(emoji["words"]))))


def samples(found, seed):
    """One sample for each drawing of these emojis, in random order, as arrays: image, text, label, and the vendor."""
    rng = random.Random(seed)
    rows = [(drawing, draw(e, rng), e["label"], vendor) for e in found for vendor, drawing in e["drawn"].items()]
    rng.shuffle(rows)
    image, text, label, vendor = zip(*rows)
    return {"image": np.stack(image), "text": np.array(text), "label": np.array(label, np.int64),
            "vendor": np.array(vendor)}
