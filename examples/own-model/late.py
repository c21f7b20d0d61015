"""Late fusion in PyTorch: an encoder for each view, trained on its own, and a small head for each subset of the views.

    python late.py FOLDER

Encoders and heads are graphs of their own, connected by the names of their tensors: mosel runs them as stages, so that each
encoder is in memory once. A view can be added, or trained anew, without touching the others.
"""

import pathlib
import sys
import warnings

import torch

import data

FEATURES = 64


class Encoder(torch.nn.Module):
    """A view as features."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, FEATURES), torch.nn.ReLU())

    def forward(self, view):
        return self.layers(view.float() / 16)


class Head(torch.nn.Module):
    """Probabilities from the features of a subset."""

    def __init__(self, views):
        super().__init__()
        self.layer = torch.nn.Linear(FEATURES * views, 10)

    def forward(self, left_features=None, right_features=None):
        features = [f for f in (left_features, right_features) if f is not None]
        return torch.softmax(self.layer(torch.cat(features, dim=-1)), dim=-1)


def train(parameters, probabilities, labels, steps=400, batch=64):
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    for step in range(steps):
        rows = torch.randint(len(labels), (batch,))
        loss = torch.nn.functional.nll_loss(torch.log(probabilities(rows)), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def export(graph, argument, inputs, output, path):
    """A graph with inputs of these names, and examples of them. The batch is the first dimension and dynamic."""
    path.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch")
    arguments = {argument or name: example for name, example in inputs.items()}
    with warnings.catch_warnings(action="ignore"):  # of names of dimensions, which nothing needs
        torch.onnx.export(graph.eval(), kwargs=arguments, f=path, dynamo=True, external_data=False, verbose=False,
                          input_names=list(inputs), output_names=[output], dynamic_shapes={name: {0: batch} for name in arguments})


def main(folder):
    torch.manual_seed(1)
    torch.set_num_threads(1)
    (views, labels), (unseen, unseen_labels) = data.load()
    views = {name: torch.from_numpy(view) for name, view in views.items()}
    labels = torch.from_numpy(labels)
    encoders = {name: Encoder() for name in data.VIEWS}
    heads = {subset: Head(len(subset)) for subset in data.SUBSETS}
    for subset, head in heads.items():
        if len(subset) == 1:  # an encoder learns with the head of its view alone
            name, = subset
            train([*encoders[name].parameters(), *head.parameters()], lambda rows: head(encoders[name](views[name][rows])), labels)
    for subset, head in heads.items():
        if len(subset) > 1:  # the encoders stay as they are
            with torch.no_grad():
                features = [encoders[name](views[name]) for name in subset]
            train(head.parameters(), lambda rows: head(*(f[rows] for f in features)), labels)
    for name, encoder in encoders.items():
        export(encoder, "view", {name: torch.zeros(2, 8, 4, dtype=torch.uint8)}, f"{name}_features", folder / "onnx" / f"{name}.onnx")
    for subset, head in heads.items():
        export(head, None, {f"{name}_features": torch.zeros(2, FEATURES) for name in subset}, "probabilities", folder / "onnx" / f"{'_'.join(subset)}_head.onnx")
    data.save_samples(folder, unseen, unseen_labels)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
