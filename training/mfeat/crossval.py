"""Compare no recovery, all views recovered, and DyMo, by cross-validation: in each fold half of the samples train, and a
quarter that nothing else has seen is judged. Over the folds every sample is judged once. Writes crossval.json.
"""

import json
import math
import pathlib
import sys

import numpy as np

import data
import model

SEEDS = 3
METHODS = ("no recovery", "all recovered", "DyMo")
DRAWS = 2000  # of the bootstrap over samples


def judge(fitted, subset, tokens, label, impute):
    """Whether each method is right [methods, n], and how many recovered views DyMo uses."""
    masks = np.tile(model.mask(subset), (len(label), 1))
    filled = impute(subset, tokens * (masks @ model.spread()))
    chosen = fitted.select(subset, filled)
    answers = [(tokens, masks), (filled, np.ones_like(masks)), (filled, chosen)]
    right = [fitted.classify(*a).argmax(1) == label for a in answers]
    return np.array(right), chosen.sum(1) - len(subset)


def linear(train):
    """A poorer imputer: plain linear regression."""
    def impute(subset, tokens):
        own = model.spread()[list(subset)].any(0)
        a = lambda t: np.concatenate([t[:, own], np.ones((len(t), 1))], axis=1)
        filled = tokens.copy()
        filled[:, ~own] = a(tokens) @ np.linalg.lstsq(a(train), train[:, ~own], rcond=None)[0]
        return filled
    return impute


def collect(folder, subsets, seeds=SEEDS):
    """right [imputers, seeds, subsets, methods, samples], used likewise without methods, and accuracy with all views [seeds].
    Imputers: that of the model, and a poorer one.
    """
    views, label = data.load(folder)
    right = np.zeros((2, seeds, len(subsets), len(METHODS), len(label)), bool)
    used, complete = np.zeros((2, seeds, len(subsets), len(label))), np.zeros((seeds, len(label)), bool)
    for seed in range(seeds):
        for fold in range(data.FOLDS):
            rows = data.split(views, label, fold)
            fitted = model.Model.fit(data.take(views, rows["train"]), label[rows["train"]], seed=100 * seed + fold)
            held = rows["heldout"]
            tokens = fitted.tokens(data.take(views, held))
            imputers = (fitted.impute, linear(fitted.tokens(data.take(views, rows["train"]))))
            for i, impute in enumerate(imputers):
                for k, subset in enumerate(subsets):
                    right[i, seed, k][:, held], used[i, seed, k, held] = judge(fitted, subset, tokens, label[held], impute)
            complete[seed, held] = fitted.classify(tokens, np.ones((len(held), model.M), np.float32)).argmax(1) == label[held]
            print(f"seed {seed}, fold {fold}", right[:, seed][:, :, :, held].mean((1, 3)).round(4).tolist(), flush=True)
    return right, used, complete.mean(1)


def sign_test(difference):
    """The two-sided probability of so many positive differences of so many that are not 0."""
    plus, minus = int((difference > 0).sum()), int((difference < 0).sum())
    n, k = plus + minus, max(plus, minus)
    tail = sum(math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2)) for i in range(k, n + 1))
    return plus, minus, min(1.0, 2 * tail)


def gain(a, b):
    """How much b [seeds, subsets, samples] is above a: in points, with its interval, and a sign test over samples."""
    by_sample = (b.astype(float) - a).mean((0, 1))
    rng = np.random.default_rng(0)
    drawn = [by_sample[rng.integers(0, len(by_sample), len(by_sample))].mean() for _ in range(DRAWS)]
    plus, minus, p = sign_test(by_sample)
    return {"points": round(100 * by_sample.mean(), 2), "interval": [round(100 * x, 2) for x in np.quantile(drawn, (0.025, 0.975))],
            "samples better": plus, "samples worse": minus, "p": float(f"{p:.2g}"),
            "by seed": [round(100 * x, 2) for x in (b.astype(float) - a).mean((1, 2))]}


def summary(right, used, subsets):
    accuracy = {model.name(s): dict(zip(METHODS, right[:, k].mean((0, 2)).round(4).tolist())) for k, s in enumerate(subsets)}
    pooled = dict(zip(METHODS, right.mean((0, 1, 3)).round(4).tolist()))
    by = lambda m: right[:, :, METHODS.index(m)]
    return {"pooled": pooled, "accuracy": accuracy, "recovered views used": round(float(used.mean()), 2),
            "DyMo over no recovery": gain(by("no recovery"), by("DyMo")),
            "all recovered over no recovery": gain(by("no recovery"), by("all recovered")),
            "DyMo over all recovered": gain(by("all recovered"), by("DyMo"))}


def main(folder, out):
    subsets = model.PRESENT[:-1]
    right, used, complete = collect(folder, subsets)
    results = {"samples": right.shape[-1], "seeds": SEEDS, "folds": data.FOLDS, "all views": [round(float(x), 4) for x in complete]}
    for i, imputer in enumerate(("", ", linear imputer")):
        for name, size in {"one view": 1, "two views": 2}.items():
            at = [k for k, s in enumerate(subsets) if len(s) == size]
            results[name + imputer] = summary(right[i][:, at], used[i][:, at], [subsets[k] for k in at])
    pathlib.Path(out).write_text(json.dumps(results, indent=1) + "\n")
    for name in ("one view", "two views"):
        print(name, json.dumps(results[name]["pooled"]), json.dumps(results[name]["DyMo over no recovery"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
