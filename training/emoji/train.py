"""Train a small head for each variant on the features that the frozen encoders gave.

A training pair joins any drawing of an emoji, as it is or altered, with any of its word lists. The last epochs'
weights are averaged; no other set chooses when to stop.
"""

import pathlib
import sys

import numpy as np
import torch
from torch import nn

HIDDEN, DROPOUT, EPOCHS, BATCH, SEED = 192, 0.4, 24, 256, 7
EMBEDDED, EXITED, ENCODED, PICTURE = "embedded", "exited", "text_features", "image_features"
WIDTHS = {EMBEDDED: 384, EXITED: 384, ENCODED: 384, PICTURE: 224}
# The features that each variant's head reads. Those of DEEP are trained to compare, and not shipped: the upper half of
# MiniLM makes the answers no better.
HEADS = {
    "words": (EMBEDDED,),
    "text": (EXITED,),
    "image": (PICTURE,),
    "words_image": (EMBEDDED, PICTURE),
    "text_image": (EXITED, PICTURE),
}
DEEP = {"text_deep": (ENCODED,), "text_deep_image": (ENCODED, PICTURE)}


class Head(nn.Module):
    """Features to the probabilities of the classes, or in training to their logits."""

    def __init__(self, names, classes=9):
        super().__init__()
        self.names = names
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTHS[n]) for n in names)
        self.inner, self.drop = nn.Linear(sum(WIDTHS[n] for n in names), HIDDEN), nn.Dropout(DROPOUT)
        self.outer = nn.Linear(HIDDEN, classes)

    def logits(self, *features):
        x = torch.cat([norm(f) for norm, f in zip(self.norms, features)], 1)
        return self.outer(self.drop(torch.relu(self.inner(self.drop(x)))))

    def forward(self, *features):
        return torch.softmax(self.logits(*features), -1)


def load(path):
    """A set's features by name, and the rest of its arrays."""
    found = dict(np.load(path))
    for i, name in enumerate((EMBEDDED, EXITED, ENCODED)):
        found[name] = torch.from_numpy(found["text_features"][:, i].copy())
    found[PICTURE] = torch.from_numpy(found["image_features"])
    return found


def pairs(train, rng):
    """Rows of drawings and of word lists of the same emojis: every drawing once."""
    texts = [np.flatnonzero(train["text_of"] == k) for k in range(len(train["label"]))]
    pictures = rng.permutation(len(train["image_of"]))
    return pictures, np.array([rng.choice(texts[k]) for k in train["image_of"][pictures]])


def fit(names, train):
    torch.manual_seed(SEED)
    rng, head = np.random.default_rng(SEED), Head(names)
    averaged = torch.optim.swa_utils.AveragedModel(head, use_buffers=True)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.1)
    steps = EPOCHS * -(-len(train["image_of"]) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    label = torch.from_numpy(train["label"])
    for epoch in range(EPOCHS):
        head.train()
        pictures, texts = pairs(train, rng)
        for at in range(0, len(pictures), BATCH):
            p, t = pictures[at : at + BATCH], texts[at : at + BATCH]
            features = [train[n][p if n == PICTURE else t] for n in names]
            loss = nn.functional.cross_entropy(head.logits(*features), label[train["image_of"][p]], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch >= EPOCHS - 4:
            averaged.update_parameters(head)
    return averaged.module.eval()


def accuracy(head, samples):
    with torch.no_grad():
        return float((head(*(samples[n] for n in head.names)).argmax(1).numpy() == samples["label"]).mean())


def main(work):
    torch.set_num_threads(1)
    work = pathlib.Path(work)
    train, profile = load(work / "train.npz"), load(work / "profile.npz")
    heads = {}
    for variant, names in (HEADS | DEEP).items():
        head = fit(names, train)
        heads[variant] = head.state_dict()
        print(f"{variant}: {accuracy(head, profile):.4f} on profile", flush=True)
    torch.save(heads, work / "heads.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
