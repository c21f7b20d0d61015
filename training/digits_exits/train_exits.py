"""Train the exits: first the network without them (`narrow`) or the heads alone (`wide`), then all together.

This order is the mixed schedule of Kubaty and others (arXiv 2407.14320). `wide` starts from the weights of
models/digits. Only samples of the training split are used. The checkpoint is written often.
"""

import argparse
import math
import time

import torch
from torch.nn import functional as F

import exits
import data

# How often a set of modalities is drawn, and its batch.
DRAWS = {"wide": {"image_text": (0.55, 96), "all": (0.45, 40)}, "narrow": {"image_text": (1.0, 64)}}
# Steps of the first and of the second part, and the highest learning rate of each.
SCHEDULE = {"wide": ((60, 3e-3), (450, 3e-4)), "narrow": ((1100, 2e-3), (500, 6e-4))}
WEIGHTS = (0.5, 0.75, 1.0, 1.5)  # of the exits, in the loss
SPARSE, KEPT = 0.8, 48  # the share of the steps which use only some of the 125 audio tokens, and how many
SEED, WARM_UP = 31, 30


def rate(step, steps, peak):
    """Linear warm-up, then a cosine to nothing."""
    return peak * min((step + 1) / WARM_UP, 0.5 * (1 + math.cos(math.pi * step / steps)))


def parts(net, size):
    """What each part trains, and the weights of the exits in its loss."""
    heads = [*net.norms.parameters(), *net.heads.parameters()]
    if size == "wide":
        return (heads, (1.0, 1.0, 1.0, 0.0)), (list(net.parameters()), WEIGHTS)
    return (list(net.net.parameters()), (0.0, 0.0, 0.0, 1.0)), (list(net.parameters()), WEIGHTS)


class Trainer:
    def __init__(self, size, net, source, checkpoint):
        self.size, self.net, self.source, self.checkpoint = size, net, source, checkpoint
        self.rng = torch.Generator().manual_seed(SEED)

    def batch(self, sparse):
        draws = DRAWS[self.size]
        subset = list(draws)[int(torch.multinomial(torch.tensor([w for w, _ in draws.values()]), 1, generator=self.rng))]
        label = torch.randint(10, (draws[subset][1],), generator=self.rng)
        inputs = self.source.draw(label, exits.SUBSETS[subset], self.rng)
        keep = torch.randperm(125, generator=self.rng)[:KEPT].sort().values if sparse and "audio" in inputs else None
        return subset, inputs, label, keep

    def part(self, trained, weights, steps, peak):
        for p in self.net.parameters():
            p.requires_grad_(False)
        for p in trained:
            p.requires_grad_(True)
        opt = torch.optim.AdamW(trained, lr=peak, betas=(0.9, 0.98), weight_decay=0.02)
        began, running = time.time(), {}
        for step in range(steps):
            for group in opt.param_groups:
                group["lr"] = rate(step, steps, peak)
            subset, inputs, label, keep = self.batch(step < SPARSE * steps)
            answers = self.net(inputs, keep)
            losses = [F.cross_entropy(a, label, label_smoothing=0.02) for a in answers]
            loss = sum(w * one for w, one in zip(weights, losses))
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            opt.step()
            for number, one in enumerate(losses):
                key = f"{subset} {number + 1}"
                running[key] = 0.95 * running.get(key, one.item()) + 0.05 * one.item()
            if (step + 1) % 50 == 0 or step + 1 == steps:
                print(f"step {step + 1}/{steps} {time.time() - began:.0f} s:", " ".join(f"{k} {v:.3f}" for k, v in sorted(running.items())), flush=True)
                torch.save({"size": self.size, "weights": self.net.state_dict()}, self.checkpoint)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("work", help="data of training/digits/make.sh")
    args.add_argument("size", choices=exits.SIZES)
    args.add_argument("checkpoint")
    args.add_argument("--digits", default="../../models/digits/onnx", help="graphs that `wide` starts from")
    args.add_argument("--threads", type=int, default=2)
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    wide = args.size == "wide"
    net = exits.new(args.size, exits.trained(args.digits) if wide else None).train()
    if wide:
        net.net.embed["audio"].scale.eval()  # its statistics are those of the trained network
    trainer = Trainer(args.size, net, data.Source(args.work, "train"), args.checkpoint)
    for (trained, weights), (steps, peak) in zip(parts(net, args.size), SCHEDULE[args.size]):
        trainer.part(trained, weights, steps, peak)


if __name__ == "__main__":
    main()
