"""Early fusion in PyTorch: one network reads every subset of the views, and each subset becomes a graph of its own.

    python early.py FOLDER                  learned placeholders stand in for views that are missing
    python early.py FOLDER --missing omit   the views that are there are averaged, and nothing stands in

The graph of a subset has no input for the other views and computes nothing of them, so it is cheaper. The encoder of the
right half is wide, as that of an expensive modality would be.
"""

import argparse
import logging
import pathlib
import warnings

import torch

import data


logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of every package that it could use


HIDDEN = {"left": 64, "right": 512}  # widths of the encoders


def encoder(hidden, width):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, hidden), torch.nn.ReLU(),
                               torch.nn.Linear(hidden, width), torch.nn.ReLU())


class Views(torch.nn.Module):
    """Takes a dict of any of the views."""

    def __init__(self, missing, width=64):
        super().__init__()
        self.encoders = torch.nn.ModuleDict({name: encoder(HIDDEN[name], width) for name in data.VIEWS})
        self.placeholders = None
        if missing == "placeholder":
            self.placeholders = torch.nn.ParameterDict({name: torch.nn.Parameter(torch.zeros(1, width)) for name in data.VIEWS})
        joined = width * (len(data.VIEWS) if self.placeholders else 1)
        self.head = torch.nn.Sequential(torch.nn.Linear(joined, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))

    def forward(self, views):
        codes = {name: self.encoders[name](view.float() / 16) for name, view in views.items()}
        if self.placeholders is None:
            return self.head(sum(codes.values()) / len(codes))
        some = next(iter(codes.values()))
        stand_in = {name: p.expand(some.shape[0], -1) for name, p in self.placeholders.items()}
        return self.head(torch.cat([codes.get(name, stand_in[name]) for name in data.VIEWS], dim=1))


def train(net, views, labels, steps=600, batch=64):
    """Every step sees one subset, drawn at random, so that the network learns to do without the other views."""
    views = {name: torch.from_numpy(view) for name, view in views.items()}
    labels = torch.from_numpy(labels)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(steps):
        subset = data.SUBSETS[torch.randint(len(data.SUBSETS), ())]
        rows = torch.randint(len(labels), (batch,))
        loss = torch.nn.functional.cross_entropy(net({name: views[name][rows] for name in subset}), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Graph(torch.nn.Module):
    """The network as a graph: the views that it is called with are its inputs, probabilities its output."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, left=None, right=None):
        views = {"left": left, "right": right}
        return torch.softmax(self.net({name: view for name, view in views.items() if view is not None}), dim=-1)


def export(graph, subset, folder):
    """One ONNX file for a subset of the views. The batch is the first dimension and dynamic."""
    folder.mkdir(parents=True, exist_ok=True)
    example = {name: torch.zeros(2, 8, 4, dtype=torch.uint8) for name in subset}
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(action="ignore"):  # of names of dimensions, which nothing needs
        torch.onnx.export(graph.eval(), kwargs=example, f=folder / f"{'_'.join(subset)}.onnx", dynamo=True, external_data=False, verbose=False,
                          input_names=list(subset), output_names=["probabilities"], dynamic_shapes={name: {0: batch} for name in subset})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--missing", choices=["placeholder", "omit"], default="placeholder")
    options = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    (views, labels), (unseen, unseen_labels) = data.load()
    net = Views(options.missing)
    train(net, views, labels)
    for subset in data.SUBSETS:
        export(Graph(net), subset, options.folder / "onnx")
    data.save_samples(options.folder, unseen, unseen_labels)


if __name__ == "__main__":
    main()
