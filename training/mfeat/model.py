"""DyMo in numpy: one classifier for all subsets of the views, an imputer for each set of present views, and the selection.

Views become tokens (principal components). The classifier reads the tokens of the views that it is given, zeros for the
others, and which these are. It is trained on complete samples whose views are hidden at random.
"""

import itertools
import math

import numpy as np

from data import CLASSES, VIEWS

NAMES = tuple(VIEWS)
M = len(NAMES)
TOKENS = 32  # principal components of each view; mor has only six features
HIDDEN, FEATURES = 192, 64
RIDGE = 0.1  # of the imputers
TEMPERATURE = 0.1
EPSILON = 1e-9  # in the logarithm of a typicality
SIGMA_MIN = 1e-3
EPOCHS, BATCH, RATE, DECAY = 120, 128, 2e-3, 1e-4

PRESENT = tuple(s for n in (1, 2, M) for s in itertools.combinations(range(M), n))  # sets that have a graph


def name(subset):
    return "all" if len(subset) == M else "_".join(NAMES[i] for i in subset)


def widths():
    return [min(TOKENS, width) for width in VIEWS.values()]


def spread():
    """[M, tokens]: which tokens belong to a view."""
    return np.repeat(np.eye(M, dtype=np.float32), widths(), axis=1)


def mask(subset):
    return np.isin(np.arange(M), subset).astype(np.float32)


class Model:
    """Everything that is fitted to the training set, as arrays by name in w."""

    def __init__(self, w):
        self.w = w

    @staticmethod
    def fit(views, label, seed):
        w = {}
        for view in NAMES:
            fit_tokens(w, view, views[view])
        model = Model(w)
        tokens = model.tokens(views)
        train(w, tokens, label, np.random.default_rng(seed))
        model.fit_prototypes(tokens, label)
        w["landmarks"] = np.ascontiguousarray(tokens.T)
        for subset in PRESENT[:-1]:
            model.fit_imputer(subset, tokens)
        return model

    def tokens(self, views):
        """[n, all tokens]; views that are left out are zeros."""
        n = len(next(iter(views.values())))
        parts = []
        for view, width in zip(NAMES, widths()):
            parts.append((views[view] - self.w[f"{view}.mean"]) @ self.w[f"{view}.axes"] if view in views else np.zeros((n, width), np.float32))
        return np.concatenate(parts, axis=1)

    def features(self, tokens, masks):
        """Features of unit length, and logits, of tokens of which only those in masks are read."""
        h, z = forward(self.w, tokens, masks)[-2:]
        return z / np.linalg.norm(z, axis=-1, keepdims=True), h @ self.w["head.weight"] + self.w["head.bias"]

    def fit_prototypes(self, tokens, label):
        """The mean feature of each class in each subset of the views, and how far training samples are from it."""
        k = len(CLASSES)
        self.w["prototypes"] = np.zeros((2**M, k, FEATURES), np.float32)
        self.w["sigma"] = np.full((2**M, k), SIGMA_MIN, np.float32)
        for code in range(1, 2**M):
            bits = np.array([code >> i & 1 for i in range(M)], np.float32)
            z, _ = self.features(tokens, np.tile(bits, (len(tokens), 1)))
            for c in range(k):
                own = z[label == c]
                middle = own.mean(0)
                middle /= np.linalg.norm(middle)
                self.w["prototypes"][code, c] = middle
                self.w["sigma"][code, c] = max(SIGMA_MIN, math.sqrt(np.mean((1 - own @ middle) ** 2)))

    def fit_imputer(self, subset, tokens):
        """Kernel ridge regression from the present tokens to the others. Weights are FP16, as in the graphs."""
        key, own = f"impute.{name(subset)}", spread()[list(subset)].any(0)
        x = tokens[:, own].astype(np.float64)
        squares = (x**2).sum(1)
        far = squares[:, None] + squares - 2 * x @ x.T
        gamma = 1 / np.median(far)
        bias = tokens[:, ~own].mean(0)
        solved = np.linalg.solve(np.exp(-gamma * far) + RIDGE * np.eye(len(x)), tokens[:, ~own] - bias)
        self.w[f"{key}.weight"] = solved.astype(np.float16)
        self.w[f"{key}.bias"] = bias
        self.w[f"{key}.squares"] = squares.astype(np.float32)
        self.w[f"{key}.gamma"] = np.float32(gamma)

    def impute(self, subset, tokens):
        """The tokens with those of missing views filled in: a mean of training samples, by how near they are."""
        key, own = f"impute.{name(subset)}", spread()[list(subset)].any(0)
        filled = tokens * own
        far = (filled**2).sum(1, keepdims=True) + self.w[f"{key}.squares"] - 2 * filled @ self.w["landmarks"]
        near = np.exp(-self.w[f"{key}.gamma"] * far)
        filled[:, ~own] = near @ self.w[f"{key}.weight"].astype(np.float32) + self.w[f"{key}.bias"]
        return filled

    def quality(self, tokens, masks):
        """Of each row: the share of its nearest prototype q, and the typicality p in its predicted class."""
        z, logits = self.features(tokens, masks)
        code = masks.astype(np.int64) @ (1 << np.arange(M))
        similar = np.einsum("...f,...cf->...c", z, self.w["prototypes"][code])
        q = softmax(similar / TEMPERATURE).max(-1)
        y = logits.argmax(-1)[..., None]
        distance = 1 - np.take_along_axis(similar, y, -1)[..., 0]
        sigma = np.take_along_axis(self.w["sigma"][code], y, -1)[..., 0]
        return q, 1 - erf(distance / (sigma * math.sqrt(2)))

    def select(self, subset, filled, steps=M):
        """Which views to use of filled tokens [n, M]: the present ones, and those recovered ones that raise the reward."""
        n = len(filled)
        trusted, active = np.tile(mask(subset), (n, 1)), np.tile(1 - mask(subset), (n, 1)) > 0
        q, p = self.quality(filled, trusted)
        for _ in range(min(steps, M - len(subset))):
            tried = np.maximum(trusted[:, None], np.eye(M, dtype=np.float32))
            q1, p1 = self.quality(np.repeat(filled[:, None], M, 1), tried)
            penalty = np.where(p1 < p[:, None], np.log(p + EPSILON)[:, None] / np.log(p1 + EPSILON), 1)
            reward = np.where(active, q1 * penalty - q[:, None], -np.inf)
            best = reward.argmax(1)
            accept = np.take_along_axis(reward, best[:, None], 1)[:, 0] > 0
            chosen = (np.arange(M) == best[:, None]) & accept[:, None]
            active &= (reward >= 0) & ~chosen
            trusted = np.where(chosen, 1, trusted).astype(np.float32)
            at = best[:, None]
            q = np.where(accept, np.take_along_axis(q1, at, 1)[:, 0], q)
            p = np.where(accept, np.take_along_axis(p1, at, 1)[:, 0], p)
        return trusted

    def classify(self, tokens, masks):
        return softmax(self.features(tokens, masks)[1])


def fit_tokens(w, view, x):
    """Principal components of standardised features, scaled so that the first has the standard deviation 1."""
    mean, std = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64) + 1e-6
    _, s, axes = np.linalg.svd((x - mean) / std, full_matrices=False)
    kept = min(TOKENS, x.shape[1])
    scale = s[:kept].clip(min=0.05 * s[0]) ** 0.5 * s[0] ** 0.5 / math.sqrt(len(x))
    w[f"{view}.mean"] = mean.astype(np.float32)
    w[f"{view}.axes"] = (axes[:kept].T / std[:, None] / scale).astype(np.float32)


def forward(w, tokens, masks):
    x = np.concatenate([tokens * (masks @ spread()), masks], axis=-1)
    a = np.maximum(x @ w["hidden.weight"] + w["hidden.bias"], 0)
    z = a @ w["features.weight"] + w["features.bias"]
    return x, a, np.maximum(z, 0), z


def train(w, tokens, label, rng):
    """Cross-entropy of samples with random subsets of their views, Adam."""
    sizes = {"hidden": (tokens.shape[1] + M, HIDDEN), "features": (HIDDEN, FEATURES), "head": (FEATURES, len(CLASSES))}
    for part, (i, o) in sizes.items():
        w[f"{part}.weight"] = (rng.standard_normal((i, o)) * math.sqrt(2 / i)).astype(np.float32)
        w[f"{part}.bias"] = np.zeros(o, np.float32)
    keys = [f"{part}.{kind}" for part in sizes for kind in ("weight", "bias")]
    first, second = ({k: np.zeros_like(w[k]) for k in keys} for _ in range(2))
    count, step = len(label), 0
    total = EPOCHS * (count // BATCH)
    for _ in range(EPOCHS):
        order = rng.permutation(count)
        for start in range(0, count - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            step += 1
            g = gradients(w, tokens[rows], hide(rng, len(rows)), label[rows])
            rate = RATE * 0.5 * (1 + math.cos(math.pi * step / total))
            for k in keys:
                first[k] += 0.1 * (g[k] - first[k])
                second[k] += 0.001 * (g[k] ** 2 - second[k])
                update = first[k] / (1 - 0.9**step) / (np.sqrt(second[k] / (1 - 0.999**step)) + 1e-8)
                w[k] -= (rate * (update + (DECAY * w[k] if k.endswith("weight") else 0))).astype(np.float32)


def hide(rng, n):
    """Random subsets: first how many views, then which."""
    many = rng.integers(1, M + 1, n)
    rank = rng.random((n, M)).argsort(1).argsort(1)
    return (rank < many[:, None]).astype(np.float32)


def gradients(w, tokens, masks, label):
    x, a, h, _ = forward(w, tokens, masks)
    d = softmax(h @ w["head.weight"] + w["head.bias"])
    d[np.arange(len(label)), label] -= 1
    d /= len(label)
    g = {"head.weight": h.T @ d, "head.bias": d.sum(0)}
    d = d @ w["head.weight"].T * (h > 0)
    g |= {"features.weight": a.T @ d, "features.bias": d.sum(0)}
    d = d @ w["features.weight"].T * (a > 0)
    return g | {"hidden.weight": x.T @ d, "hidden.bias": d.sum(0)}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


erf = np.vectorize(math.erf, otypes=[np.float64])
