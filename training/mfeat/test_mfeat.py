"""Checks on what make.sh made: run with work/venv/bin/python -m unittest, from this folder."""

import math
import pathlib
import unittest

import numpy as np

import crossval
import data
import evaluate
import model
from model import M, NAMES

WORK = pathlib.Path(__file__).parent / "work"
SHIPPED = pathlib.Path(__file__).parent / "../../models/mfeat"


def fitted():
    return model.Model(dict(np.load(WORK / "mfeat.npz")))


class Splits(unittest.TestCase):
    def test_every_sample_is_held_out_once_and_never_trains_then(self):
        views, label = data.load(WORK / "views")
        seen = np.zeros(len(label), int)
        for fold in range(data.FOLDS):
            rows = data.split(views, label, fold)
            seen[rows["heldout"]] += 1
            together = np.concatenate(list(rows.values()))
            self.assertEqual(len(set(together.tolist())), len(label))
            for part in rows.values():
                self.assertEqual(len(set(np.bincount(label[part]).tolist())), 1)
        self.assertTrue((seen == 1).all())

    def test_shipped_sets_are_those_of_the_split(self):
        views, label = data.load(WORK / "views")
        rows = data.split(views, label, data.SHIPPED)
        train = {views["pix"][i].tobytes() + views["fac"][i].tobytes() for i in rows["train"]}
        for name in ("profile", "heldout"):
            shipped = np.load(SHIPPED / "eval" / f"{name}.npz")
            np.testing.assert_array_equal(shipped["label"], label[rows[name]])
            for view in NAMES:
                np.testing.assert_array_equal(shipped[view], views[view][rows[name]])
            both = {p.tobytes() + f.tobytes() for p, f in zip(shipped["pix"], shipped["fac"])} & train
            self.assertEqual(len(both), 0, "a sample trains and is measured")


class Selection(unittest.TestCase):
    def reference(self, m, subset, filled):
        """DyMo for one sample, as the paper's code has it, step by step."""
        def judge(views):
            q, p = m.quality(filled[None], model.mask(views)[None])
            return q[0], p[0]
        chosen, rejected = set(subset), set()
        for _ in range(M - len(subset)):
            q, p = judge(tuple(chosen))
            rewards = {}
            for u in range(M):
                if u in chosen or u in rejected:
                    continue
                q1, p1 = judge(tuple(chosen | {u}))
                penalty = math.log(p + model.EPSILON) / math.log(p1 + model.EPSILON) if p1 < p else 1
                rewards[u] = q1 * penalty - q
            rejected |= {u for u, r in rewards.items() if r < 0}
            best = max(rewards, key=rewards.get, default=None)
            if best is None or rewards[best] <= 0:
                break
            chosen.add(best)
        return model.mask(tuple(chosen))

    def test_selection_is_that_of_one_sample_at_a_time(self):
        m, samples = fitted(), np.load(SHIPPED / "eval" / "heldout.npz")
        tokens = m.tokens({v: samples[v][:60] for v in NAMES})
        for subset in ((1,), (3,), (5,), (1, 3), (2, 5)):
            filled = m.impute(subset, tokens)
            want = np.array([self.reference(m, subset, row) for row in filled])
            np.testing.assert_array_equal(m.select(subset, filled), want, model.name(subset))

    def test_present_views_are_kept_and_missing_ones_not_read(self):
        m, samples = fitted(), np.load(SHIPPED / "eval" / "heldout.npz")
        tokens = m.tokens({v: samples[v][:20] for v in NAMES})
        for subset in model.PRESENT[:-1]:
            own = model.spread()[list(subset)].any(0)
            np.testing.assert_array_equal(m.impute(subset, tokens)[:, own], tokens[:, own])
            np.testing.assert_array_equal(m.impute(subset, tokens), m.impute(subset, tokens * own))


class Graphs(unittest.TestCase):
    def test_graphs_answer_as_numpy_does(self):
        m, samples = fitted(), dict(np.load(SHIPPED / "eval" / "heldout.npz"))
        samples = {v: samples[v][:100] for v in NAMES}
        tokens = m.tokens(samples)
        for subset in model.PRESENT:
            for recover in (False, True)[: 1 + (len(subset) < M)]:
                masks = np.tile(model.mask(subset), (len(tokens), 1))
                filled = tokens * (masks @ model.spread())
                if recover:
                    filled = m.impute(subset, filled)
                    masks = m.select(subset, filled)
                got, trusted = evaluate.Variant(SHIPPED, subset, recover).run(samples)
                same = (trusted == (masks > model.mask(subset))).all(1)
                self.assertGreaterEqual(same.mean(), 0.97, model.name(subset))  # rewards near 0 may round to either side
                np.testing.assert_allclose(got[same], m.classify(filled, masks)[same], atol=2e-3)

    def test_an_answer_does_not_depend_on_its_batch(self):
        samples = dict(np.load(SHIPPED / "eval" / "heldout.npz"))
        for subset in ((1,), (3, 5)):
            variant = evaluate.Variant(SHIPPED, subset, True)
            alone, together = (variant.run({v: samples[v][:n] for v in NAMES}) for n in (1, 32))
            np.testing.assert_allclose(alone[0][0], together[0][0], atol=1e-4)
            np.testing.assert_array_equal(alone[1][0], together[1][0])


class Statistics(unittest.TestCase):
    def test_sign_test(self):
        plus, minus, p = crossval.sign_test(np.array([1] * 8 + [-1] * 2 + [0] * 5))
        self.assertEqual((plus, minus), (8, 2))
        self.assertAlmostEqual(p, 2 * (1 + 10 + 45) / 1024, places=9)
        self.assertEqual(crossval.sign_test(np.zeros(3))[2], 1)


if __name__ == "__main__":
    unittest.main()
