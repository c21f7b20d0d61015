"""Checks on what make.sh made: run with work/venv/bin/python -m unittest, from this folder."""

import pathlib
import unittest

import numpy as np
import torch

import corpus
import evaluate
import export
import model
import speech

WORK = pathlib.Path(__file__).parent / "work"
SHIPPED = pathlib.Path(__file__).parent / "../../models/sentiment"


def shipped(split):
    return dict(np.load(SHIPPED / "eval" / f"{split}.npz"))


class Splits(unittest.TestCase):
    def test_no_text_is_in_two_splits(self):
        seen = {}
        texts = {s: [t for t, _ in rows] for s, rows in corpus.tweets(WORK / "vader").items()}
        texts["train"] += [t for t, _ in corpus.others(WORK / "vader")]
        for split, rows in texts.items():
            for text in rows:
                self.assertEqual(seen.setdefault(corpus.plain(text), split), split, text)

    def test_no_voice_is_in_two_splits(self):
        spoken, seen = np.load(WORK / "speech.npz"), {}
        for voice, split in set(zip(spoken["voice"].tolist(), spoken["split"].tolist())):
            self.assertEqual(seen.setdefault(speech.family(voice), split), split, voice)

    def test_labels_are_the_ratings_of_people(self):
        rated = {corpus.codes(t).tobytes(): r for t, r in corpus.read(WORK / "vader", "tweets")}
        for split, count in corpus.COUNTS.items():
            samples = shipped(split)
            self.assertEqual(len(samples["label"]), count)
            for text, label in zip(samples["text"], samples["label"]):
                self.assertAlmostEqual(rated[text.tobytes()], float(label), places=5)
                self.assertGreaterEqual(abs(label), corpus.CLEAR)

    def test_every_sample_has_all_modalities(self):
        for split in corpus.COUNTS:
            samples = shipped(split)
            for m in model.MODALITIES:
                self.assertTrue(samples[m].reshape(len(samples["label"]), -1).any(1).all(), m)


class Graphs(unittest.TestCase):
    def test_graphs_answer_as_the_network_does(self):
        net, samples = export.load(WORK / "sentiment.pt"), shipped("profile")
        for subset in model.SUBSETS:
            with torch.no_grad():
                seen = [net.encoders[m](torch.from_numpy(samples[m][:5])) for m in subset]
                want = net.fuse(subset, seen).squeeze(1).numpy()
            got = evaluate.Variant(SHIPPED, subset).run({m: samples[m][:5] for m in subset})
            np.testing.assert_allclose(got, want, atol=5e-3)  # the tables are FP16 in the graphs

    def test_what_fills_up_an_input_changes_nothing(self):
        samples = shipped("profile")
        for subset in (("text",), ("voice",)):
            variant, m = evaluate.Variant(SHIPPED, subset), subset[0]
            for x in samples[m][:40]:
                own = x[: np.flatnonzero(x)[-1] + 1]
                np.testing.assert_allclose(variant.run({m: own[None]}), variant.run({m: x[None]}), atol=1e-3)

    def test_an_answer_does_not_depend_on_its_batch(self):
        samples = shipped("profile")
        variant = evaluate.Variant(SHIPPED, model.MODALITIES)
        alone, together = (variant.run({m: samples[m][:n] for m in model.MODALITIES}) for n in (1, 8))
        np.testing.assert_allclose(alone[0], together[0], atol=1e-4)


if __name__ == "__main__":
    unittest.main()
