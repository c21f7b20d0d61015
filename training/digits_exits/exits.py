"""Transformers of training/digits with a classifier after every block, so that an item may leave early.

Two models: `wide`, the network of models/digits, for pictures with words (`image_text`) and for all three
modalities (`all`); and `narrow`, of 96 channels, for pictures with words only.
"""

import pathlib
import sys

import numpy as np
import onnx
import torch
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).parent / "../digits"))
from model import MODALITIES, SHAPES, TYPES, Digits  # noqa: E402, F401

SIZES = {"wide": {"width": 160, "layers": 4, "heads": 5}, "narrow": {"width": 96, "layers": 4, "heads": 4}}
SUBSETS = {"all": ("audio", "image", "text"), "image_text": ("image", "text")}
# The chains of the package: the network and the modalities of each.
CHAINS = {"image_text": ("wide", "image_text"), "all": ("wide", "all"), "narrow": ("narrow", "image_text")}


class Exits(nn.Module):
    """A network with a classifier of the first token after each block; the last is the network's own."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        early = len(net.blocks) - 1
        self.norms = nn.ModuleList(nn.LayerNorm(net.width) for _ in range(early))
        self.heads = nn.ModuleList(nn.Linear(net.width, 10) for _ in range(early))

    def embed(self, inputs, keep=None):
        """The tokens of all modalities that are present, [batch, tokens, width]."""
        net = self.net
        present = [m for m in MODALITIES if m in inputs]
        parts = [net.embed[m](inputs[m]) + net.place[m] for m in present]
        if keep is not None and "audio" in inputs:
            parts[0] = parts[0][:, keep]
        return torch.cat([net.cls.expand(parts[0].shape[0], 1, net.width), *parts], dim=1)

    def block(self, number, x):
        tokens = int(x.shape[1])
        return self.net.blocks[number](x.reshape(-1, self.net.width), tokens).reshape(-1, tokens, self.net.width)

    def answer(self, number, x):
        """The logits after a block."""
        if number == len(self.heads):
            return self.net.head(self.net.norm(x[:, 0]))
        return self.heads[number](self.norms[number](x[:, 0]))

    def forward(self, inputs, keep=None):
        """The logits of all exits."""
        x, answers = self.embed(inputs, keep), []
        for number in range(len(self.net.blocks)):
            x = self.block(number, x)
            answers.append(self.answer(number, x))
        return answers


def new(size, weights=None):
    """A network with exits; weights: of the network, without the exits, as trained."""
    net = Digits(**SIZES[size])
    if size == "wide":
        fuse(net.embed["image"].stem)
    if weights is not None:
        net.load_state_dict(weights)
    return Exits(net)


def fuse(stem):
    """Give the convolutions the bias that exported graphs have in place of batch normalisation."""
    for at, layer in enumerate(stem):
        if isinstance(layer, nn.Conv2d):
            layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
        elif isinstance(layer, nn.BatchNorm2d):
            stem[at] = nn.Identity()


def trained(folder):
    """The weights of the network in models/digits, read from its graph of all modalities."""
    graph = onnx.load(str(pathlib.Path(folder, "all.onnx"))).graph
    found = {t.name.removeprefix("net."): torch.from_numpy(np.array(onnx.numpy_helper.to_array(t))) for t in graph.initializer}
    # The exporter gave these new names: convolutions fused with what normalised them, and a transposed matrix.
    fused = sorted((name for name in found if name.startswith("onnx::Conv")), key=lambda name: int(name.split("_")[1]))
    for layer, (weight, bias) in zip((0, 3, 6, 9), zip(fused[::2], fused[1::2])):
        found[f"embed.image.stem.{layer}.weight"], found[f"embed.image.stem.{layer}.bias"] = found.pop(weight), found.pop(bias)
    mix = next(name for name in found if name.startswith("onnx::MatMul"))
    found["embed.audio.mix.weight"] = found.pop(mix).T.contiguous()
    found["embed.audio.scale.num_batches_tracked"] = torch.tensor(0)
    return found


def load(path):
    """A network with exits, of a checkpoint."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    net = new(saved["size"])
    net.load_state_dict(saved["weights"])
    return net.eval()
