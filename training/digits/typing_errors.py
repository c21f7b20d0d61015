"""Type a word badly: neighbouring keys, lost, doubled, extra and swapped letters, and giving up early."""

import random

LENGTH = 12  # codes; unused ones are 0
ROWS = ["qwertyuiop", "asdfghjkl", "zxcvbnm"]
MOST = 1.0  # the worst typist's chance of an error per letter
STOPS = 0.5  # how many words are cut short


def neighbours():
    """The keys around each key of a QWERTY keyboard, whose rows are shifted by about half a key."""
    place = {c: (y, x + 0.4 * y) for y, row in enumerate(ROWS) for x, c in enumerate(row)}
    near = lambda a, b: a != b and abs(a[0] - b[0]) <= 1 and abs(a[1] - b[1]) <= 1.05
    return {c: [d for d in place if near(place[c], place[d])] for c in place}


NEAR = neighbours()


def mistype(word, rng):
    """The word as one hasty typist leaves it; how hasty differs from word to word."""
    rate = rng.random() * MOST
    typed = []
    for c in word:
        if rng.random() >= rate:
            typed.append(c)
            continue
        kind = rng.random()
        if kind < 0.55:
            typed.append(rng.choice(NEAR[c]))
        elif kind < 0.75:
            pass  # lost
        elif kind < 0.83:
            typed += [c, c]
        elif kind < 0.92:
            typed += [c, rng.choice(NEAR[c])]
        else:
            typed.insert(max(len(typed) - 1, 0), c)
    if rng.random() < STOPS:
        typed = typed[: rng.randint(1, 2)]
    return "".join(typed) or rng.choice(NEAR[word[0]])


def codes(word):
    """The word as fixed-length character codes."""
    return list(word.encode("ascii")[:LENGTH].ljust(LENGTH, b"\0"))


def pool(words, count, seed):
    """Type every word count times: a list of words' lists of codes."""
    rng = random.Random(seed)
    return [[codes(mistype(word, rng)) for _ in range(count)] for word in words]
