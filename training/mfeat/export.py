"""Write the ONNX graphs: for each set of present views one that classifies, and one that recovers, selects and classifies.

The graphs keep their large weights in one file beside them, weights.bin.
"""

import math
import pathlib
import sys
import zlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import model
from data import CLASSES, VIEWS
from model import M, NAMES

OPSET = 17
EXTERNAL_MIN = 1024  # bytes of a weight that is kept in weights.bin
ALIGNED = 64


class Graph:
    """A graph that is written node by node. Every tensor has a name; weights are added when they are first used."""

    def __init__(self, w):
        self.w, self.nodes, self.weights, self.count = w, [], {}, 0

    def op(self, kind, *inputs, **attributes):
        self.count += 1
        name = f"{kind.lower()}_{self.count}"
        self.nodes.append(helper.make_node(kind, [self.tensor(i) for i in inputs], [name], **attributes))
        return name

    def tensor(self, x):
        """A tensor's name: x is one, or a weight's name, or a constant."""
        if isinstance(x, str):
            if x in self.w:
                self.weights[x] = self.w[x]
            return x
        x = np.asarray(x, np.float32) if np.asarray(x).dtype == np.float64 else np.asarray(x)
        name = f"constant_{x.dtype}_{'x'.join(map(str, x.shape))}_{zlib.crc32(x.tobytes()):08x}"
        self.weights[name] = x
        return name

    def linear(self, x, part):
        return self.op("Add", self.op("MatMul", x, f"{part}.weight"), f"{part}.bias")


def tokens(g, subset):
    """The tokens of the present views."""
    parts = [g.op("MatMul", g.op("Sub", NAMES[i], f"{NAMES[i]}.mean"), f"{NAMES[i]}.axes") for i in subset]
    return parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=-1)


def places(subset):
    """The places of a subset's tokens among all tokens, and those of the others."""
    own = model.spread()[list(subset)].any(0)
    return np.flatnonzero(own), np.flatnonzero(~own)


def placed(g, x, others, subset):
    """All tokens, from those of a subset and those of the others, or one column for all others."""
    own, missing = places(subset)
    index = np.empty(len(own) + len(missing), np.int64)
    index[own] = np.arange(len(own))
    index[missing] = len(own) + (0 if others.startswith("zero") else np.arange(len(missing)))
    return g.op("Gather", g.op("Concat", x, others, axis=-1), index, axis=-1)


def zeros(g, x):
    """A column of zeros, one for each row of x."""
    g.nodes.append(helper.make_node("Mul", [g.op("ReduceSum", x, np.array([-1]), keepdims=1), g.tensor(np.float32(0))], ["zero"]))
    return "zero"


def impute(g, x, subset):
    """The tokens of the missing views, recovered from those of the present ones."""
    key = f"impute.{model.name(subset)}"
    own = g.op("ReduceSum", g.op("Mul", x, x), np.array([-1]), keepdims=1)
    near = g.op("MatMul", x, g.op("Gather", "landmarks", places(subset)[0], axis=0))
    far = g.op("Sub", g.op("Add", own, f"{key}.squares"), g.op("Mul", near, np.float32(2)))
    weight = g.op("Cast", f"{key}.weight", to=TensorProto.FLOAT)
    near = g.op("Exp", g.op("Mul", far, np.float32(-g.w[f"{key}.gamma"])))
    return g.op("Add", g.op("MatMul", near, weight), f"{key}.bias")


def features(g, filled, masks):
    """Features of unit length and logits; masks are [.., M]."""
    x = g.op("Concat", g.op("Mul", filled, g.op("MatMul", masks, model.spread())), masks, axis=-1)
    z = g.linear(g.op("Relu", g.linear(x, "hidden")), "features")
    logits = g.linear(g.op("Relu", z), "head")
    return g.op("Div", z, g.op("ReduceL2", z, axes=[-1], keepdims=1)), logits


def quality(g, filled, masks):
    """For each row of masks [n, rows, M]: q and p [n, rows]."""
    z, logits = features(g, filled, masks)
    code = g.op("ReduceSum", g.op("Mul", masks, (1 << np.arange(M)).astype(np.float32)), np.array([-1]), keepdims=0)
    code = g.op("Cast", code, to=TensorProto.INT64)
    similar = g.op("MatMul", g.op("Gather", "prototypes", code, axis=0), g.op("Unsqueeze", z, np.array([-1])))
    similar = g.op("Squeeze", similar, np.array([-1]))  # [n, rows, classes]
    q = g.op("ReduceMax", g.op("Softmax", g.op("Div", similar, np.float32(model.TEMPERATURE)), axis=-1), axes=[-1], keepdims=0)
    y = g.op("ArgMax", logits, axis=-1, keepdims=1)
    distance = g.op("Sub", np.float32(1), g.op("GatherElements", similar, y, axis=2))
    sigma = g.op("GatherElements", g.op("Gather", "sigma", code, axis=0), y, axis=2)
    p = g.op("Sub", np.float32(1), g.op("Erf", g.op("Div", distance, g.op("Mul", sigma, np.float32(math.sqrt(2))))))
    return q, g.op("Squeeze", p, np.array([-1]))


def select(g, filled, subset):
    """DyMo, one step for each missing view: the trusted views [n, M] as 0 and 1, with the present ones."""
    missing = [i for i in range(M) if i not in subset]
    one = g.op("Unsqueeze", filled, np.array([1]))  # [n, 1, tokens]
    rows = g.op("Mul", g.op("ReduceSum", one, np.array([-1]), keepdims=1), np.float32(0))  # [n, 1, 1] zeros
    trusted = g.op("Add", rows, model.mask(subset).reshape(1, 1, M))  # [n, 1, M]
    active = g.op("Add", g.op("Squeeze", rows, np.array([1])), np.ones((1, len(missing)), np.float32))  # [n, missing]
    adds = np.eye(M, dtype=np.float32)[missing][None]  # [1, missing, M]
    q, p = quality(g, one, trusted)  # [n, 1]
    for _ in missing:
        tried = g.op("Max", trusted, adds)
        q1, p1 = quality(g, one, tried)
        log = lambda x: g.op("Log", g.op("Add", x, np.float32(model.EPSILON)))
        penalty = g.op("Where", g.op("Less", p1, p), g.op("Div", log(p), log(p1)), np.float32(1))
        reward = g.op("Sub", g.op("Mul", q1, penalty), q)
        reward = g.op("Where", g.op("Greater", active, np.float32(0.5)), reward, np.float32(-1e9))
        best = g.op("ArgMax", reward, axis=1, keepdims=1)
        accept = g.op("Cast", g.op("Greater", g.op("GatherElements", reward, best, axis=1), np.float32(0)), to=TensorProto.FLOAT)
        chosen = g.op("Cast", g.op("Equal", best, np.arange(len(missing))[None]), to=TensorProto.FLOAT)
        chosen = g.op("Mul", chosen, accept)  # [n, missing]
        kept = g.op("Cast", g.op("Not", g.op("Less", reward, np.float32(0))), to=TensorProto.FLOAT)
        active = g.op("Mul", kept, g.op("Sub", np.float32(1), chosen))
        trusted = g.op("Max", trusted, g.op("Unsqueeze", g.op("MatMul", chosen, adds[0]), np.array([1])))
        taken = g.op("Greater", accept, np.float32(0.5))
        q = g.op("Where", taken, g.op("GatherElements", q1, best, axis=1), q)
        p = g.op("Where", taken, g.op("GatherElements", p1, best, axis=1), p)
    return g.op("Squeeze", trusted, np.array([1]))


def build(w, subset, recover):
    g = Graph(w)
    x = tokens(g, subset)
    if recover:
        filled = placed(g, x, impute(g, x, subset), subset)
        masks = select(g, filled, subset)
    else:
        filled = placed(g, x, zeros(g, x), subset)
        masks = g.op("Add", "zero", model.mask(subset)[None])
    _, logits = features(g, filled, masks)
    g.nodes.append(helper.make_node("Softmax", [logits], ["probabilities"], axis=-1))
    g.nodes.append(helper.make_node("Cast", [g.op("Mul", masks, (1 - model.mask(subset))[None])], ["trusted"], to=TensorProto.BOOL))
    return g


def weights(graphs):
    """The bytes of weights.bin, and where each weight is in it."""
    data, at = bytearray(), {}
    for g in graphs:
        for name, x in g.weights.items():
            if x.nbytes >= EXTERNAL_MIN and name not in at:
                data += bytes(-len(data) % ALIGNED)
                at[name] = len(data)
                data += x.tobytes()
    return bytes(data), at


def proto(g, subset, at):
    """The ONNX model of a graph."""
    initializers = []
    for name, x in g.weights.items():
        tensor = numpy_helper.from_array(x, name)
        if name in at:
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in {"location": "weights.bin", "offset": at[name], "length": x.nbytes}.items():
                entry = tensor.external_data.add()
                entry.key, entry.value = key, str(value)
        initializers.append(tensor)
    info = helper.make_tensor_value_info
    inputs = [info(NAMES[i], TensorProto.FLOAT, ["batch", VIEWS[NAMES[i]]]) for i in subset]
    outputs = [info("probabilities", TensorProto.FLOAT, ["batch", len(CLASSES)]), info("trusted", TensorProto.BOOL, ["batch", M])]
    graph = helper.make_graph(g.nodes, model.name(subset), inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="mosel training/mfeat")


def main(fitted, folder):
    w, folder = dict(np.load(fitted)), pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    graphs = {}
    for subset in model.PRESENT:
        graphs[model.name(subset)] = (subset, build(w, subset, False))
        if len(subset) < M:
            graphs[f"{model.name(subset)}_recover"] = (subset, build(w, subset, True))
    data, at = weights(g for _, g in graphs.values())
    (folder / "weights.bin").write_bytes(data)
    for name, (subset, g) in graphs.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(proto(g, subset, at).SerializeToString())
        onnx.checker.check_model(str(path), full_check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
