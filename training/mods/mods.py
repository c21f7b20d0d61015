"""Does a primary modality for each sample beat every fixed one? Writes results.json.

Every model trains on the same samples with the same steps; only the seed of its weights and of its batches differs.
"""

import argparse
import json
import math
import pathlib
import time

import numpy as np
import torch
from torch.nn import functional as F

import data
import model

TRAIN, TEST = 16_000, 5_000
ALONE, STEPS, BATCH = 600, 450, 128  # steps of an encoder, steps of the rest
RATE, DECAY, ALPHA = 2e-3, 1e-2, 0.02
SEEDS = (1, 2, 3)


def optimise(net, steps, n, loss):
    """Run the steps on random batches; the rate warms up and then falls to nothing."""
    opt = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    for step in range(steps):
        for group in opt.param_groups:
            group["lr"] = RATE * min((step + 1) / 100, 0.5 * (1 + math.cos(math.pi * step / steps)))
        value = loss(torch.randint(n, (BATCH,)))
        opt.zero_grad()
        value.backward()
        opt.step()
    return net.eval()


def encode(train, test, seed, steps):
    """The tokens of all samples, [n, 3, TOKENS, width] of each split, and each encoder's accuracy alone."""
    tokens, alone = {"train": [], "test": []}, {}
    for m in model.MODALITIES:
        torch.manual_seed(seed)
        net = model.Alone(m, model.WIDTH)
        optimise(net, steps, len(train["label"]), lambda at: F.cross_entropy(net(train[m][at]), train["label"][at]))
        with torch.no_grad():
            for split, samples in (("train", train), ("test", test)):
                tokens[split].append(torch.cat([net.encoder(x) for x in samples[m].split(1000)]))
            right = net.head(tokens["test"][-1].flatten(1)).argmax(1) == test["label"]
        alone[m] = {"all": round(float(right.float().mean()), 4),
                    "clean": round(float(right[~test["spoiled"][:, model.MODALITIES.index(m)]].float().mean()), 4)}
    return torch.stack(tokens["train"], 1), torch.stack(tokens["test"], 1), alone


def fit(tokens, label, fixed, seed, steps):
    torch.manual_seed(seed)
    net = model.MODS(fixed)

    def loss(at):
        logits, _, answer, each = net(tokens[at])
        return F.cross_entropy(logits, label[at]) + ALPHA * model.contrast(net, answer, each)

    return optimise(net, steps, len(label), loss)


def judge(net, tokens, test):
    """Accuracy; of the selector: how often each modality is the primary, and how often the primary is a channel that is not spoiled, where some are and some are not."""
    with torch.no_grad():
        parts = [net(x) for x in tokens.split(500)]
    right = torch.cat([p[0].argmax(1) for p in parts]) == test["label"]
    first = torch.cat([p[1].argmax(1) for p in parts])
    clean = ~test["spoiled"]
    some = clean.any(1) & ~clean.all(1)
    return {"accuracy": round(float(right.float().mean()), 5),
            "primaries": [round(float((first == m).float().mean()), 4) for m in range(3)],
            "primary_clean": round(float(clean[torch.arange(len(first)), first][some].float().mean()), 4)}


def interval(values):
    """Mean and half of the 95 % interval over seeds (Student's t)."""
    t = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}[len(values)]
    return round(float(np.mean(values)), 4), round(float(t * np.std(values, ddof=1) / math.sqrt(len(values))), 4)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("vader", help="folder with VADER's lexicon")
    args.add_argument("speech", help="recordings by tone, as training/sentiment/speech.py makes them")
    args.add_argument("out")
    args.add_argument("--alone", type=int, default=ALONE)
    args.add_argument("--steps", type=int, default=STEPS)
    args.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    args.add_argument("--threads", type=int, default=1)
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    train, test = (data.draw(args.vader, args.speech, s, n) for s, n in (("train", TRAIN), ("test", TEST)))
    print("drawn", flush=True)
    runs, encoders = {}, []
    for seed in args.seeds:
        began = time.time()
        tokens, seen, alone = encode(train, test, seed, args.alone)
        encoders.append(alone)
        print(seed, alone, f"{time.time() - began:.0f} s", flush=True)
        for fixed in (None, *model.MODALITIES):
            began = time.time()
            name = "dynamic" if fixed is None else fixed
            result = judge(fit(tokens, train["label"], fixed, seed, args.steps), seen, test)
            runs.setdefault(name, []).append(result)
            print(seed, name, result, f"{time.time() - began:.0f} s", flush=True)
    accuracies = {name: [r["accuracy"] for r in list_] for name, list_ in runs.items()}
    results = {"train": TRAIN, "test": TEST, "spoiled": data.SPOILED, "seeds": list(args.seeds), "steps": args.steps, "encoders": encoders, "runs": runs}
    if len(args.seeds) > 1:
        results["accuracy"] = {name: interval(values) for name, values in accuracies.items()}
        results["gain"] = {name: interval(np.subtract(accuracies["dynamic"], values)) for name, values in accuracies.items() if name != "dynamic"}
    pathlib.Path(args.out).write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps({k: results.get(k) for k in ("accuracy", "gain")}))


if __name__ == "__main__":
    main()
