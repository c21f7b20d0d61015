"""Checks on what make.sh made: run with work/venv/bin/python -m unittest, from this folder."""

import json
import pathlib
import unittest

import numpy as np
import onnxruntime
import torch

import exits
import export

HERE = pathlib.Path(__file__).parent
SHIPPED = HERE / "../../models/digits_exits"


def run(name, inputs):
    return onnxruntime.InferenceSession(str(SHIPPED / f"onnx/{name}.onnx")).run(None, inputs)[0]


class Weights(unittest.TestCase):
    def test_the_last_exit_begins_as_the_network_of_digits(self):
        """The weights read from graphs give the answers of these graphs."""
        net = exits.new("wide", exits.trained(HERE / "../../models/digits/onnx")).eval()
        samples = np.load(SHIPPED / "eval/profile.npz")
        for name, subset in exits.SUBSETS.items():
            inputs = {m: samples[m][:8] for m in subset}
            session = onnxruntime.InferenceSession(str(HERE / f"../../models/digits/onnx/{name}.onnx"))
            with torch.no_grad():
                last = torch.softmax(net({m: torch.from_numpy(x) for m, x in inputs.items()})[-1], 1)
            np.testing.assert_allclose(session.run(None, inputs)[0], last.numpy(), atol=1e-4)


class Graphs(unittest.TestCase):
    def test_chained_stages_answer_as_the_network_does(self):
        samples = np.load(SHIPPED / "eval/profile.npz")
        for chain, (size, subset) in exits.CHAINS.items():
            net = exits.load(HERE / f"work/{size}.pt")
            state = {m: samples[m][:3] for m in exits.SUBSETS[subset]}
            with torch.no_grad():
                want = [torch.softmax(a, 1).numpy() for a in net({m: torch.from_numpy(x) for m, x in state.items()})]
            for number in range(export.DEPTH):
                state = {export.state(chain, number): run(f"{chain}_block{number + 1}", state)}
                np.testing.assert_allclose(run(f"{chain}_exit{number + 1}", state), want[number], atol=1e-4)

    def test_every_stage_has_a_size(self):
        sizes = json.loads((HERE / "stages.json").read_text())
        self.assertEqual(set(sizes), {p.stem for p in (SHIPPED / "onnx").glob("*.onnx")})


if __name__ == "__main__":
    unittest.main()
