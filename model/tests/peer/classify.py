"""What Python makes of photographs: classify.py MODEL.onnx SIZE RESIZED MEAN STD, the files' names on stdin, one a line.

Prints for each file its likeliest output, that one's probability, and the next likeliest's, as JSON. Pillow decodes, turns and resizes as torchvision's
Resize (bicubic, the shorter side to RESIZED) and CenterCrop do on Pillow's images, which is how EfficientNet-Lite's authors
had their images in PyTorch; ONNX Runtime computes."""

import json
import sys

import numpy
import onnxruntime
from PIL import Image, ImageOps


def square(path, size, resized):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    width, height = image.size
    if width < height:
        sides = resized, int(resized * height / width)
    else:
        sides = int(resized * width / height), resized
    image = image.resize(sides, Image.Resampling.BICUBIC)
    left, top = round((sides[0] - size) / 2.0), round((sides[1] - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


def main():
    model, size, resized, mean, std = sys.argv[1], *map(int, sys.argv[2:4]), *map(float, sys.argv[4:])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for path in sys.stdin.read().splitlines():
        values = (numpy.asarray(square(path, size, resized), numpy.float32) - mean) / std
        outputs = session.run(None, {name: values.transpose(2, 0, 1)[None].astype(numpy.float32)})[0][0]
        shares = numpy.exp(outputs.astype(numpy.float64) - outputs.max())
        shares /= shares.sum()
        first, second = numpy.argsort(-outputs)[:2]
        print(json.dumps([int(first), float(shares[first]), float(shares[second])]))


main()
