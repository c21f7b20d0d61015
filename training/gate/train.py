"""Train a gate for the digits package, and write its graph.

The gate is one small network on the two cheap modalities. It answers like any variant, and it estimates for itself and for
each larger variant how likely that variant's answer is right. The targets are the answers of the variants to training
samples: whether they were right.
"""

import argparse
import io
import math
import time
import warnings

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional as F

SEED = 5
OPSET = 17
CHOICES = ("glance", "image_text", "all_int8")  # what the gate chooses from; the first is the gate itself


class Gate(nn.Module):
    """Digits from an image and a typed word, at a twentieth of the cost of image_text, and estimates of who is right."""

    def __init__(self, width=96):
        super().__init__()
        step = lambda i, o, k: [nn.Conv2d(i, o, k, 2, k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
        self.stem = nn.Sequential(*step(1, 12, 5), *step(12, 24, 3), *step(24, 48, 3))
        self.image = nn.Linear(48 * 16, width)
        self.code = nn.Embedding(128, 16)
        self.near = nn.Conv1d(16, 32, 3, padding=1)
        self.text = nn.Linear(32 * 12, width)
        self.both = nn.Linear(2 * width, width)
        self.head = nn.Linear(width, 10)
        self.alone = nn.ModuleDict({"image": nn.Linear(width, 10), "text": nn.Linear(width, 10)})
        self.right = nn.Sequential(nn.Linear(width + 30, 48), nn.ReLU(), nn.Linear(48, len(CHOICES)))

    def forward(self, image, text):
        """Logits of the classes, those of each modality alone, and logits of the estimates."""
        x = image.float().unsqueeze(1)
        x = x - x.mean(dim=(2, 3), keepdim=True)
        x = x / torch.sqrt((x * x).mean(dim=(2, 3), keepdim=True) + 16)
        x = F.relu(self.image(F.dropout(self.stem(x).flatten(1), 0.1, self.training)))
        t = F.relu(self.near(self.code(text.int().clamp(max=127)).transpose(1, 2)))
        t = F.relu(self.text(t.flatten(1)))
        seen = F.relu(self.both(torch.cat([x, t], 1)))
        alone = [self.alone["image"](x), self.alone["text"](t)]
        # Both modalities vote, and their joint features correct the vote.
        logits = alone[0] + alone[1] + self.head(seen)
        votes = [torch.softmax(v, 1) for v in (*alone, logits)]
        # Where the two disagree says more about the larger variants than the class does: the order of classes is dropped.
        told = torch.cat([votes[0] * votes[1], *(v.sort(1, descending=True).values for v in votes[1:])], 1)
        estimates = self.right(torch.cat([seen.detach(), told.detach()], 1))
        return logits, alone, estimates


class Exported(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, image, text):
        logits, _, estimates = self.net(image, text)
        return torch.softmax(logits, 1), torch.sigmoid(estimates)


def loss(net, batch):
    logits, alone, estimates = net(batch["image"], batch["text"])
    label = batch["label"]
    classes = F.cross_entropy(logits, label) + 0.3 * sum(F.cross_entropy(a, label) for a in alone)
    own = (logits.argmax(1) == label).float()
    targets = torch.stack([own, batch["image_text"], batch["all_int8"]], 1)
    known = (targets >= 0).float()
    told = F.binary_cross_entropy_with_logits(estimates, targets.clamp(0, 1), reduction="none") * known
    return classes + told.sum() / known.sum(), own.mean()


def train(samples, epochs, size, peak):
    torch.manual_seed(SEED)
    net = Gate()
    opt = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=0.02)
    n = len(samples["label"])
    steps, step, began = epochs * (n // size), 0, time.time()
    for epoch in range(epochs):
        right = []
        for at in torch.randperm(n).split(size)[: n // size]:
            for group in opt.param_groups:
                group["lr"] = peak * min((step + 1) / 200, 0.5 * (1 + math.cos(math.pi * step / steps)))
            value, own = loss(net, {k: x[at] for k, x in samples.items()})
            opt.zero_grad()
            value.backward()
            opt.step()
            step += 1
            right.append(float(own))
        print(f"epoch {epoch + 1}/{epochs} {time.time() - began:.0f} s: right {np.mean(right):.4f}, loss {value.item():.3f}", flush=True)
    return net.eval()


def read(path):
    kept = np.load(path)
    n = len(kept["label"])
    samples = {k: torch.from_numpy(kept[k]) for k in ("label", "image", "text")}
    for name in CHOICES[1:]:
        right = np.full(n, -1, np.float32)  # -1: the variant has not answered this sample
        right[: len(kept[f"{name}.right"])] = kept[f"{name}.right"]
        samples[name] = torch.from_numpy(right)
    return samples


def write(net, path):
    inputs = torch.zeros(2, 28, 28, dtype=torch.uint8), torch.zeros(2, 12, dtype=torch.uint8)
    names = ["image", "text", "probabilities", "right"]
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Exported(net).eval(), inputs, out, input_names=names[:2], output_names=names[2:], dynamo=False,
                          dynamic_axes={n: {0: "batch"} for n in names}, opset_version=OPSET)
    onnx.save(onnx.load_from_string(out.getvalue()), path)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("answers", help="the answers of the variants to training samples, as answers.py writes them")
    args.add_argument("graph", help="the ONNX file to write")
    args.add_argument("--epochs", type=int, default=5)
    args.add_argument("--batch", type=int, default=256)
    args.add_argument("--rate", type=float, default=3e-3)
    args.add_argument("--threads", type=int, default=1)
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    write(train(read(args.answers), args.epochs, args.batch, args.rate), args.graph)


if __name__ == "__main__":
    main()
