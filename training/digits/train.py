"""Train the one network on random subsets of the modalities, so that all seven work.

Each step draws one subset: its batch then has one length, no padding, and a cheap subset makes a cheap step.
Everything random comes from fixed seeds; the checkpoint is written often, so an export is possible at any time.
"""

import argparse
import math
import time

import torch
from torch.nn import functional as F

import data
import model

# How often a subset is drawn, and its batch. Those with audio cost six times as much, and teach most.
DRAWS = {"text": (0.6, 128), "image": (2.0, 128), "image_text": (2.2, 128), "audio": (1.4, 64),
         "audio_text": (0.8, 64), "audio_image": (1.0, 64), "all": (1.4, 64)}
SEED = 7
WARM_UP = 200
SPARSE, KEPT = 0.8, 48  # the share of the steps which use only some of the 125 audio tokens, and how many


def rate(step, steps, peak):
    """Linear warm-up, then a cosine to nothing."""
    if step < WARM_UP:
        return peak * (step + 1) / WARM_UP
    return peak * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (steps - WARM_UP)))


def optimiser(net, peak):
    """Weight decay for matrices only."""
    decayed = [p for n, p in net.named_parameters() if p.ndim > 1 and "place" not in n and "cls" not in n]
    kept = {id(p) for p in decayed}
    rest = [p for p in net.parameters() if id(p) not in kept]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}],
                             lr=peak, betas=(0.9, 0.98))


def accuracy(net, source, count=600):
    """A quick look, on samples of the training split: the other splits are not for looking at while training."""
    rng = torch.Generator().manual_seed(SEED + 1)
    label = torch.arange(count) % 10
    drawn = source.draw(label, model.MODALITIES, rng)
    seen = {}
    net.eval()
    with torch.no_grad():
        for subset in model.SUBSETS:
            if model.name(subset) in DRAWS:
                right = [(net({m: drawn[m][i : i + 100] for m in subset}).argmax(1) == label[i : i + 100]).sum()
                         for i in range(0, count, 100)]
                seen[model.name(subset)] = float(sum(right)) / count
    net.train()
    return seen


def save(net, size, path):
    torch.save({"size": size, "weights": net.state_dict()}, path)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("work")
    args.add_argument("checkpoint")
    args.add_argument("--steps", type=int, default=4500)
    args.add_argument("--peak", type=float, default=1e-3)
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--only", nargs="*", help="train these subsets only (to tune the noise)")
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    for name in list(DRAWS):
        if args.only and name not in args.only:
            del DRAWS[name]
    source = data.Source(args.work, "train")
    size = {"width": 160, "layers": 4, "heads": 5}
    net = model.Digits(**size).train()
    opt = optimiser(net, args.peak)
    rng = torch.Generator().manual_seed(SEED)
    subsets = [s for s in model.SUBSETS if model.name(s) in DRAWS]
    weights = torch.tensor([DRAWS[model.name(s)][0] for s in subsets])
    began, running = time.time(), {}
    for step in range(args.steps):
        subset = subsets[int(torch.multinomial(weights, 1, generator=rng))]
        label = torch.randint(10, (DRAWS[model.name(subset)][1],), generator=rng)
        inputs = source.draw(label, subset, rng)
        for group in opt.param_groups:
            group["lr"] = rate(step, args.steps, args.peak)
        sparse = step < SPARSE * args.steps and "audio" in subset
        keep = torch.randperm(model.Audio.tokens, generator=rng)[:KEPT].sort().values if sparse else None
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(inputs, keep)
        loss = F.cross_entropy(logits.float(), label, label_smoothing=0.02)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        name = model.name(subset)
        running[name] = 0.95 * running.get(name, 2.3) + 0.05 * loss.item()
        if (step + 1) % 250 == 0:
            losses = " ".join(f"{n} {running[n]:.3f}" for n in sorted(running))
            print(f"step {step + 1}/{args.steps} {time.time() - began:.0f} s: loss {losses}", flush=True)
            save(net, size, args.checkpoint)
    print("accuracy on training samples:", accuracy(net, source), flush=True)


if __name__ == "__main__":
    main()
