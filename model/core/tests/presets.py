#!/usr/bin/env python3
"""Writes presets.json beside this script: files as they lie beside nets, and what transformers' own image processors make of an image.

    pip install 'transformers==4.57.6' pillow numpy
    python3 presets.py

Written with transformers 4.57.6 and Pillow 13.0.0, by the processors that need no PyTorch. The image is made by the formula that
presets.rs repeats. Its sides are such that the middle begins at a whole pixel, or at a half that is rounded down by all: transformers
rounds down, and torchvision and this project to the even one, so that the middle of 235 pixels is another's by one. Of what comes out, values are kept that lie on a grid: each channel's, row by row."""

import importlib
import json
import pathlib

import numpy as np
from PIL import Image

GRID = 6
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
FILES = [
    ("vit", "ViT", {**HALF, "do_resize": True, "resample": 2, "rescale_factor": 1 / 255, "size": {"height": 224, "width": 224}}),
    ("vit", "ViT", {**HALF, "resample": 1, "size": 192}),
    ("vit", "ViT", {"do_normalize": False, "resample": 3, "size": {"height": 96, "width": 96}}),
    ("bit", "Bit", {"crop_size": {"height": 224, "width": 224}, "resample": 3, "size": {"shortest_edge": 256}}),
    ("clip", "CLIP", {"crop_size": 224, "size": 224}),
    ("convnext", "ConvNext", {**IMAGENET, "crop_pct": 0.875, "resample": 3, "size": 224}),
    ("convnext", "ConvNext", {**IMAGENET, "crop_pct": 0.96, "resample": 2, "size": {"shortest_edge": 288}}),
    ("convnext", "ConvNext", {**IMAGENET, "crop_pct": 1.0, "resample": 3, "size": {"shortest_edge": 384}}),
    (
        "efficientnet",
        "EfficientNet",
        {"resample": 3, "rescale_factor": 1 / 127.5, "rescale_offset": True, "size": {"height": 224, "width": 224}}
        | {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.47853944, 0.4732864, 0.47434163]},
    ),
    ("efficientnet", "EfficientNet", {**IMAGENET, "include_top": False, "resample": 2, "size": {"height": 260, "width": 260}}),
    ("levit", "Levit", {**IMAGENET, "size": {"shortest_edge": 224}}),
    ("mobilenet_v1", "MobileNetV1", {}),
    ("mobilenet_v2", "MobileNetV2", {**HALF, "size": {"shortest_edge": 256}}),
    (
        "mobilevit",
        "MobileViT",
        {"do_flip_channel_order": True, "resample": 2, "size": {"shortest_edge": 288}, "crop_size": {"height": 256, "width": 256}},
    ),
    ("poolformer", "PoolFormer", {**IMAGENET, "crop_pct": 0.9, "size": {"shortest_edge": 224}}),
    ("pvt", "Pvt", {**IMAGENET, "resample": 2}),
    ("segformer", "Segformer", {**IMAGENET, "do_reduce_labels": False, "size": {"height": 128, "width": 128}}),
    ("siglip", "Siglip", {}),
]


def image(width, height):
    """Waves of a length of each channel's own, and a fine texture."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return ((x * (c + 2) + y + (x * y) // (c + 5) % 97 + 29 * c) % 256).astype(np.uint8)


def main():
    all, (width, height) = [], (400, 300)
    for module, name, file in FILES:
        code = importlib.import_module(f"transformers.models.{module}.image_processing_{module}")
        processor = getattr(code, f"{name}ImageProcessor")(**file)
        values = processor(Image.fromarray(image(width, height)), return_tensors="np")["pixel_values"][0]
        size = values.shape[-1]
        assert values.shape == (3, size, size), values.shape
        places = [(2 * place + 1) * size // (2 * GRID) for place in range(GRID)]
        picked = [round(float(values[c, y, x]), 5) for c in range(3) for y in places for x in places]
        all.append({"file": {"image_processor_type": f"{name}ImageProcessor", **file}, "size": size, "values": picked})
    with open(pathlib.Path(__file__).with_suffix(".json"), "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(one) for one in all) + "\n]\n")


main()
