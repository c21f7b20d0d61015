"""Write an int8 version of the full graph: static, so that an answer never depends on what else is in the batch.

Only the linear layers of the blocks (Gemm) are quantised: they hold nearly all of the arithmetic, and
attention, normalisation and the log-mel front end keep their precision. Scales come from training samples.
"""

import logging
import pathlib
import sys
import tempfile

import onnx
import torch
from onnxruntime import quantization as ortq

import data
import export
import model

SAMPLES, BATCH, SEED = 512, 32, 21


class Samples(ortq.CalibrationDataReader):
    """Training samples, a batch at a time, for one subset."""

    def __init__(self, source, subset):
        self.rng, self.left = torch.Generator().manual_seed(SEED), SAMPLES // BATCH
        self.source, self.subset = source, subset

    def get_next(self):
        if self.left == 0:
            return None
        self.left -= 1
        label = torch.randint(10, (BATCH,), generator=self.rng)
        return {m: x.numpy() for m, x in self.source.draw(label, self.subset, self.rng).items()}


def quantise(net, subset, source, out):
    with tempfile.TemporaryDirectory() as folder:
        plain = pathlib.Path(folder, "plain.onnx")
        graph = export.trace(net, subset)
        onnx.save(onnx.shape_inference.infer_shapes(graph), plain)
        last = [n.name for n in graph.graph.node if n.op_type == "Gemm"][-1]  # the classifier itself
        ortq.quantize_static(
            plain, out, Samples(source, subset), quant_format=ortq.QuantFormat.QDQ, op_types_to_quantize=["Gemm"],
            nodes_to_exclude=[last], per_channel=True, activation_type=ortq.QuantType.QUInt8,
            weight_type=ortq.QuantType.QInt8, calibrate_method=ortq.CalibrationMethod.MinMax,
            extra_options={"QDQKeepRemovableActivations": True, "OpTypesToExcludeOutputQuantization": ["Gemm"]})


def main(work, checkpoint, folder):
    logging.disable(logging.WARNING)
    net, source = export.load(checkpoint), data.Source(work, "train")
    quantise(net, tuple(model.MODALITIES), source, f"{folder}/all_int8.onnx")


if __name__ == "__main__":
    main(*sys.argv[1:])
