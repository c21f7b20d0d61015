"""Makes the ONNX graphs and the labelled samples of a small model: is a machine about to fail?

    python make.py DIRECTORY

Two sensors, each a modality: vibration, 32 numbers, and temperature, 4 numbers. Each is noisy, and both together know more than
one. A linear classifier is fitted for each subset of the sensors, and becomes a graph with the inputs of that subset.
"""

import pathlib
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

SENSORS = {"vibration": 32, "temperature": 4}
SUBSETS = (("vibration",), ("temperature",), ("vibration", "temperature"))
CLASSES = 2
SAMPLES = 4000  # half of them for training


def measurements(random):
    """Sensor readings and whether the machine failed."""
    label = random.integers(0, CLASSES, SAMPLES)
    noise = {"vibration": 2.6, "temperature": 1.3}
    readings = {}
    for name, width in SENSORS.items():
        direction = random.normal(size=width) / numpy.sqrt(width)
        readings[name] = (random.normal(size=(SAMPLES, width)) * noise[name] / 2 + numpy.outer(2 * label - 1, direction)).astype(numpy.float32)
    return readings, label


def fit(readings, label):
    """Weights and a bias for each class, by least squares."""
    columns = numpy.hstack([readings, numpy.ones((len(readings), 1))])
    weights, *_ = numpy.linalg.lstsq(columns, numpy.eye(CLASSES)[label], rcond=None)
    return weights[:-1].astype(numpy.float32), weights[-1].astype(numpy.float32)


def graph(subset, weights, bias):
    """A graph with an input for each sensor of the subset. The first dimension is the batch."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", SENSORS[name]]) for name in subset]
    nodes = [helper.make_node("Concat", list(subset), ["readings"], axis=1),
             helper.make_node("Gemm", ["readings", "weights", "bias"], ["scores"], alpha=6.0, beta=6.0),
             helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1)]
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])
    made = helper.make_graph(nodes, "_".join(subset), inputs, [output], [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def main(directory):
    (directory / "onnx").mkdir(parents=True, exist_ok=True)
    readings, label = measurements(numpy.random.default_rng(1))
    half = SAMPLES // 2
    for subset in SUBSETS:
        weights, bias = fit(numpy.hstack([readings[name][:half] for name in subset]), label[:half])
        onnx.save(graph(subset, weights, bias), directory / "onnx" / f"{'_'.join(subset)}.onnx")
    numpy.savez_compressed(directory / "samples.npz", label=label[half:], **{name: values[half:] for name, values in readings.items()})


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
