"""Write the stages of each chain as ONNX graphs: a block, and a classifier for every block.

The stages of a chain hand on the tensor of all tokens; embedding the inputs belongs to the first block. The
chains `image_text` and `all` are one network, so most of their weights are shared in one file.
"""

import io
import json
import pathlib
import sys
import warnings

import onnx
import torch

import exits

sys.path.insert(0, str(pathlib.Path(__file__).parent / "../digits"))
import export as digits  # noqa: E402

DEPTH = 4


class Block(torch.nn.Module):
    """One block of a chain, after the embedding if it is the first."""

    def __init__(self, net, subset, number):
        super().__init__()
        self.net, self.subset, self.number = net, subset, number

    def forward(self, *inputs):
        x = self.net.embed(dict(zip(self.subset, inputs))) if self.number == 0 else inputs[0]
        return self.net.block(self.number, x)


class Exit(torch.nn.Module):
    """The probabilities after a block."""

    def __init__(self, net, number):
        super().__init__()
        self.net, self.number = net, number

    def forward(self, x):
        return torch.softmax(self.net.answer(self.number, x), dim=-1)


def state(chain, number):
    return f"{chain}_state{number + 1}"


def trace(module, inputs, names, output):
    dynamic, out = {n: {0: "batch"} for n in (*names, output)}, io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), inputs, out, input_names=names, output_names=[output], dynamo=False,
                          dynamic_axes=dynamic, opset_version=digits.OPSET)
    graph = onnx.load_from_string(out.getvalue())
    graph.producer_name, graph.producer_version = "mosel training/digits_exits", ""
    return graph


def chain_graphs(chain, net, subset):
    """The graphs of a chain by the names of their stages."""
    inputs = tuple(torch.zeros((2, *exits.SHAPES[m]), dtype=exits.TYPES[m]) for m in subset)
    with torch.no_grad():
        tokens = net.embed(dict(zip(subset, inputs)))
    graphs = {}
    for number in range(DEPTH):
        first = number == 0
        given, names = (inputs, list(subset)) if first else ((torch.zeros_like(tokens),), [state(chain, number - 1)])
        graphs[f"{chain}_block{number + 1}"] = trace(Block(net, subset, number), given, names, state(chain, number))
        graphs[f"{chain}_exit{number + 1}"] = trace(Exit(net, number), (torch.zeros_like(tokens),), [state(chain, number)], "probabilities")
    return graphs


def main(checkpoints, folder):
    nets, graphs = {size: exits.load(f"{checkpoints}/{size}.pt") for size in exits.SIZES}, {}
    for chain, (size, subset) in exits.CHAINS.items():
        graphs |= chain_graphs(chain, nets[size], exits.SUBSETS[subset])
    size = {name: sum(onnx.numpy_helper.to_array(t).nbytes for t in graph.graph.initializer) for name, graph in graphs.items()}
    pathlib.Path(__file__).with_name("stages.json").write_text(json.dumps(size, indent=1) + "\n")
    digits.share(graphs, folder)
    for name in graphs:
        onnx.checker.check_model(f"{folder}/{name}.onnx")


if __name__ == "__main__":
    main(*sys.argv[1:])
