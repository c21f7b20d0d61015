"""Late fusion in PyTorch: a network for each view, trained on its own; their probabilities are averaged.

    python late.py FOLDER

A graph for each subset of the views has only the networks of that subset. A view can be added, or trained anew,
without touching the others.
"""

import pathlib
import sys

import torch

import data
import early


class Late(torch.nn.Module):
    """Averages what the networks of the views that are there say."""

    def __init__(self, nets):
        super().__init__()
        self.nets = nets

    def forward(self, left=None, right=None):
        views = {"left": left, "right": right}
        said = [torch.softmax(self.nets[name](view.float() / 16), dim=-1) for name, view in views.items() if view is not None]
        return sum(said) / len(said)


def network():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))


def train(net, view, labels, steps=400, batch=64):
    view, labels = torch.from_numpy(view).float() / 16, torch.from_numpy(labels)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for step in range(steps):
        rows = torch.randint(len(labels), (batch,))
        loss = torch.nn.functional.cross_entropy(net(view[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main(folder):
    torch.manual_seed(1)
    torch.set_num_threads(1)
    (views, labels), (unseen, unseen_labels) = data.load()
    nets = torch.nn.ModuleDict({name: network() for name in data.VIEWS})
    for name, view in views.items():
        train(nets[name], view, labels)
    for subset in data.SUBSETS:
        early.export(Late(nets), subset, folder / "onnx")
    data.save_samples(folder, unseen, unseen_labels)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
