"""Write one ONNX graph for each encoder and each head: the stages of the package.

The tables of the text encoder are stored as FP16, which halves the largest file.
"""

import io
import pathlib
import sys
import warnings

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

import model

OPSET = 17
TABLE_MIN = 1 << 17  # elements of an initializer that is stored as FP16
OUTPUT = "sentiment"
EXAMPLES = {"text": torch.ones(2, 48, dtype=torch.uint8), "face": torch.ones(2, 32, 32, dtype=torch.uint8), "voice": torch.ones(2, 3000, dtype=torch.int16)}
OPEN = ("text", "voice")  # inputs of any length


def features(modality):
    """The tensor between an encoder and the heads."""
    return f"{modality}_features"


def trace(net, inputs, names, output, dynamic):
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), inputs, out, input_names=names, output_names=[output], dynamo=False, opset_version=OPSET,
                          dynamic_axes={**dynamic, output: {0: "batch"}})
    graph = onnx.load_from_string(out.getvalue())
    graph.producer_name, graph.producer_version = "mosel training/sentiment", ""
    return graph


def encoder(net, modality):
    axes = {0: "batch", 1: "length"} if modality in OPEN else {0: "batch"}
    graph = trace(net.encoders[modality], (EXAMPLES[modality],), [modality], features(modality), {modality: axes})
    return halve(graph)


def head(net, subset):
    names = [features(m) for m in subset]
    inputs = tuple(torch.zeros(2, model.FEATURES) for _ in subset)
    return trace(model.Fusion(net, subset), inputs, names, OUTPUT, {n: {0: "batch"} for n in names})


def halve(graph):
    """Store tables as FP16: rows are gathered first and then made FP32 again."""
    tables = {t.name: t for t in graph.graph.initializer if int(np.prod(t.dims)) >= TABLE_MIN}
    nodes = []
    for node in graph.graph.node:
        nodes.append(node)
        if node.op_type != "Gather" or node.input[0] not in tables:
            continue
        rows, node.output[0] = node.output[0], node.output[0] + "_fp16"
        nodes.append(helper.make_node("Cast", [node.output[0]], [rows], name=node.name + "_fp32", to=onnx.TensorProto.FLOAT))
    for table in tables.values():
        table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table).astype(np.float16), table.name))
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return graph


def load(path):
    net = model.Sentiment()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval()


def main(checkpoint, folder):
    net, folder = load(checkpoint), pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    graphs = {f"{m}_encoder": encoder(net, m) for m in model.MODALITIES}
    graphs |= {f"{model.name(s)}_head": head(net, s) for s in model.SUBSETS}
    for name, graph in graphs.items():
        onnx.checker.check_model(graph, full_check=True)
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())


if __name__ == "__main__":
    main(*sys.argv[1:])
