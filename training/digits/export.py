"""Write one ONNX graph per subset of the modalities; all of them share one file of weights.

The graphs differ only in which tokens they build, so tensors of equal content are stored once, in
weights.bin beside the graphs: seven variants cost the disk and the page cache little more than one.
"""

import hashlib
import io
import pathlib
import sys
import warnings

import onnx
import torch
from onnx import external_data_helper

import model

OPSET = 17
ALIGN = 4096  # so that weights may be mapped into memory


class Graph(torch.nn.Module):
    """The model for one subset, with positional inputs and probabilities out."""

    def __init__(self, net, subset):
        super().__init__()
        self.net, self.subset = net, subset

    def forward(self, *inputs):
        return torch.softmax(self.net(dict(zip(self.subset, inputs))), dim=-1)


def trace(net, subset):
    """The ONNX model of one subset, weights inside."""
    inputs = tuple(torch.zeros((2, *model.SHAPES[m]), dtype=model.TYPES[m]) for m in subset)
    dynamic = {n: {0: "batch"} for n in (*subset, "probabilities")}
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Graph(net, subset).eval(), inputs, out, input_names=list(subset), dynamo=False,
                          output_names=["probabilities"], dynamic_axes=dynamic, opset_version=OPSET)
    graph = onnx.load_from_string(out.getvalue())
    graph.producer_name, graph.producer_version = "mosel training/digits", ""
    return graph


def share(graphs, folder, weights="weights.bin"):
    """Move the tensors of all graphs to one file, each distinct content once, and save."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    offsets, blob = {}, bytearray()
    for graph in graphs.values():
        for tensor in graph.graph.initializer:
            raw = onnx.numpy_helper.to_array(tensor).tobytes()
            if len(raw) < 1024:
                continue  # shapes and scalars: shape inference wants them inside
            key = hashlib.sha256(raw).digest()
            if key not in offsets:
                if len(raw) >= ALIGN:
                    blob.extend(bytes(-len(blob) % ALIGN))
                offsets[key] = len(blob)
                blob.extend(raw)
            tensor.raw_data = raw
            external_data_helper.set_external_data(tensor, weights, offsets[key], len(raw))
            tensor.ClearField("raw_data")
            for typed in ("float_data", "int32_data", "int64_data"):
                tensor.ClearField(typed)
    (folder / weights).write_bytes(blob)
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())


def load(path):
    """The trained network of a checkpoint."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    net = model.Digits(**saved["size"])
    net.load_state_dict(saved["weights"])
    return net.eval()


def main(checkpoint, folder):
    net = load(checkpoint)
    graphs = {model.name(s): trace(net, s) for s in model.SUBSETS}
    share(graphs, folder)
    for name in graphs:
        onnx.checker.check_model(f"{folder}/{name}.onnx")


if __name__ == "__main__":
    main(*sys.argv[1:])
