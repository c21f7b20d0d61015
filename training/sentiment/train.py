"""Train the three encoders one after the other, each with its head, then what mixes the ratings of several modalities.

Encoders and the text's head stay as they are meanwhile. Mixes are trained on texts that the text encoder has not seen: on
its own training texts it is more right than on others, and a mix would trust it too much. These texts are drawn so that as
many are positive as among the tweets that train; the heads of faces and voices are adapted to that. Everything random
comes from fixed seeds.
"""

import argparse
import math
import pathlib
import time

import numpy as np
import torch
from torch.nn import functional as F

import corpus
import data
import faces
import model

SEED = 7
MIXED = 1500  # texts of other kinds on which the mixes are trained, with half of the tweets
DRAWS = 12  # faces and voices for each of these texts


def loss(predicted, rating):
    """How far the rating is off, and whether its sign is right, which is what counts; less where people had no clear opinion."""
    clear = (rating.abs() / corpus.CLEAR).clamp(max=1)
    sign = F.binary_cross_entropy_with_logits(2 * predicted, (rating >= 0).float(), reduction="none")
    return F.smooth_l1_loss(predicted, rating, reduction="none") * 0.5 + sign * clear


def optimise(groups, steps, batch):
    """Run the steps: batch(step) gives the loss of one; the rate warms up and then falls to nothing."""
    opt = torch.optim.AdamW(groups)
    peaks = [g["lr"] for g in opt.param_groups]
    began, running = time.time(), None
    for step in range(steps):
        for group, peak in zip(opt.param_groups, peaks):
            group["lr"] = peak * min((step + 1) / 100, 0.5 * (1 + math.cos(math.pi * step / steps)))
        value = batch(step)
        opt.zero_grad()
        value.backward()
        opt.step()
        running = value.item() if running is None else 0.98 * running + 0.02 * value.item()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            print(f"  step {step + 1}/{steps} {time.time() - began:.0f} s: loss {running:.3f}", flush=True)


class Texts:
    """The texts that train: those for the encoder, each with a weight, and those for the heads."""

    def __init__(self, folder):
        rng = np.random.default_rng(SEED)
        tweets, others, words = corpus.tweets(folder)["train"], corpus.others(folder), corpus.lexicon(folder)
        others = [others[i] for i in rng.permutation(len(others))]
        half = len(tweets) // 2
        self.mixed = [row for row in others[:MIXED] if abs(row[1]) >= corpus.CLEAR]
        self.mixed += tweets[half:] * (len(self.mixed) // len(tweets[half:]))
        self.positive = sum(r >= 0 for _, r in tweets) / len(tweets)
        train = tweets[:half] * 16 + others[MIXED:] + words * 2
        self.codes = data.codes([t for t, _ in train])
        self.rating = torch.tensor([r for _, r in train])
        self.words = words

    def batches(self, size, rng):
        """Batches of texts of about one length, in random order, without end."""
        length = (self.codes != 0).sum(1)
        while True:
            order = torch.argsort(length + 20 * torch.rand(len(length), generator=rng))
            parts = order.split(size)
            for i in torch.randperm(len(parts), generator=rng).tolist():
                part = parts[i]
                yield self.codes[part, : int(length[part].max())], self.rating[part]


def train_text(net, texts, rng, epochs):
    encoder, head = net.encoders["text"], net.heads["text"]
    with torch.no_grad():  # the lexicon's ratings are the first number of its words' vectors
        for word, rating in texts.words:
            hashed, ends, _ = encoder.hashes(data.codes([word]))
            if int(ends.sum()) == 1 and word.replace("'", "").isalpha():
                encoder.word.weight[hashed[ends], 0] = rating / 2
    size = 128
    source = texts.batches(size, rng)

    def batch(_):
        codes, rating = next(source)
        return loss(head(encoder(codes)).squeeze(1), rating).mean()

    tables = [encoder.word.weight, encoder.run.weight]
    rest = [p for n, p in encoder.named_parameters() if n not in ("word.weight", "run.weight")]
    optimise([{"params": tables, "lr": 7e-4, "weight_decay": 0.0}, {"params": rest + list(head.parameters()), "lr": 1.5e-3, "weight_decay": 0.05}],
             epochs * (len(texts.codes) // size), batch)


def draw_ratings(source, n, rng):
    """Ratings as often as texts have them."""
    clear = source[source.abs() >= corpus.CLEAR]
    return clear[torch.randint(len(clear), (n,), generator=rng)]


def train_one(net, modality, draw, rng, steps, size):
    encoder, head = net.encoders[modality], net.heads[modality]

    def batch(step):
        rating, x = draw(size, step)
        return loss(head(encoder(x)).squeeze(1), rating).mean()

    optimise([{"params": list(encoder.parameters()) + list(head.parameters()), "lr": 2e-3, "weight_decay": 0.03}], steps, batch)


def features(encoder, x, size=100):
    encoder.eval()
    with torch.no_grad():
        return torch.cat([encoder(x[i : i + size]) for i in range(0, len(x), size)])


def train_mixes(net, texts, pictures, clips, rng, steps):
    """The mixes of several modalities, on features that are computed once."""
    rating = torch.tensor([r for _, r in texts.mixed])
    seen = {"text": features(net.encoders["text"], data.codes([t for t, _ in texts.mixed])).repeat(DRAWS, 1)}
    many = rating.repeat(DRAWS)
    drawn = {"face": lambda r: pictures.draw(r, rng), "voice": lambda r: clips.toned(r, rng)}
    for m, draw in drawn.items():
        seen[m] = torch.cat([features(net.encoders[m], draw(part)) for part in many.split(100)])
    positive = many >= 0
    often = torch.where(positive, texts.positive / positive.sum(), (1 - texts.positive) / (~positive).sum())
    several = [s for s in model.SUBSETS if len(s) > 1]

    def batch(_):
        at = torch.multinomial(often, 256, replacement=True, generator=rng)
        single = {m: net.heads[m](F.dropout(seen[m][at], 0.1)) for m in model.MODALITIES}
        adapted = sum(loss(single[m].squeeze(1), many[at]).mean() for m in drawn)
        mixed = {s: net.mixes[model.name(s)](torch.cat([single[m].detach() for m in s], 1)) for s in several}
        return adapted + sum(loss(x.squeeze(1), many[at]).mean() for x in mixed.values())

    trained = [net.mixes, net.heads["face"], net.heads["voice"]]
    optimise([{"params": [p for part in trained for p in part.parameters()], "lr": 3e-3, "weight_decay": 0.05}], steps, batch)


def score(net, subset, samples):
    """The share of a labelled set whose sign is right."""
    parts = [features(net.encoders[m], torch.from_numpy(samples[m])) for m in subset]
    with torch.no_grad():
        predicted = net.fuse(subset, parts).squeeze(1)
    return float(((predicted >= 0) == (torch.from_numpy(samples["label"]) >= 0)).float().mean())


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("work")
    args.add_argument("checkpoint")
    args.add_argument("--look", help="a labelled set on which to print scores after each part")
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--only", nargs="*", default=["text", "face", "voice", "mixes"], help="parts to train; the others are read from the checkpoint")
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    work = pathlib.Path(args.work)
    net = model.Sentiment()
    if len(args.only) < 4 and pathlib.Path(args.checkpoint).exists():
        net.load_state_dict(torch.load(args.checkpoint, weights_only=True))
    texts, rng = Texts(work / "vader"), torch.Generator().manual_seed(SEED)
    look = dict(np.load(args.look)) if args.look else None
    pictures = faces.Faces(work / "ranking.csv", work / "emoji")

    def part(what, run, subsets):
        if what in args.only:
            print(what, flush=True)
            torch.manual_seed(SEED)
            rng.manual_seed(SEED)
            net.train()
            run()
            net.eval()
            torch.save(net.state_dict(), args.checkpoint)
            if look:
                print({model.name(s): round(score(net, s, look), 4) for s in subsets}, flush=True)

    part("text", lambda: train_text(net, texts, rng, 2), [("text",)])

    def face(size, _):
        rating = draw_ratings(texts.rating, size, rng)
        return rating, pictures.draw(rating, rng)

    part("face", lambda: train_one(net, "face", face, rng, 700, 128), [("face",)])
    clips = data.Voices(work, "train")

    def voice(size, step):
        rating = draw_ratings(texts.rating, size, rng)
        x = clips.toned(rating, rng)
        return rating, x[:, :5000] if step < 350 else x  # shorter clips first: cheaper steps

    part("voice", lambda: train_one(net, "voice", voice, rng, 600, 64), [("voice",)])
    part("mixes", lambda: train_mixes(net, texts, pictures, clips, rng, 600), model.SUBSETS)


if __name__ == "__main__":
    main()
