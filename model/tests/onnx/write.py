"""Writes nets that the tests import, by the package onnx: write.py FOLDER.

Those of its own names tell the colour of an image: outputs for red, green, blue and dark from the mean of each channel. The others
are copies of the light models that the package brings for its own tests."""

import pathlib
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 8
# Rows are classes, columns red, green and blue as they come, 0 to 1.
WEIGHTS = numpy.array([[9, -3, -3], [-3, 9, -3], [-3, -3, 9], [-9, -9, -9]], numpy.float32)
BIAS = numpy.array([0, 0, 0, 3], numpy.float32)


def net(image, weights=WEIGHTS, bias=BIAS, batch="N", axes=(2, 3), last=None, given=None, kind=TensorProto.FLOAT, more=()):
    """image: the dimensions of the input but the first; last: an operator after the outputs; more: outputs beside them."""
    classes = len(bias)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["means"], axes=list(axes), keepdims=0),
        helper.make_node("Gemm", ["means", "w", "b"], ["logits"], transB=1),
    ]
    if last:
        nodes.append(helper.make_node(last, ["logits"], ["last"]))
    output = helper.make_tensor_value_info("last" if last else "logits", kind, given or [batch, classes])
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("x", kind, [batch, *image])],
        [output, *(helper.make_tensor_value_info(name, kind, [batch, classes]) for name in more)],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return model


def main():
    folder = pathlib.Path(sys.argv[1])
    planes, pixels = [3, SIDE, SIDE], [SIDE, SIDE, 3]
    nets = {
        "plain": net(planes),
        "open": net([3, "H", "W"], given=["N", "K"]),
        "bgr": net(planes, WEIGHTS[:, ::-1].copy()),
        "nhwc": net(pixels, axes=(1, 2)),
        "fixed": net(planes, batch=4),
        "shares": net(planes, last="Softmax"),
        # How red it is, one number.
        "single": net(planes, WEIGHTS[:1], BIAS[:1]),
        "wide": net([3, SIDE, 2 * SIDE]),
        "double": net(planes, WEIGHTS.astype(float), BIAS.astype(float), kind=TensorProto.DOUBLE),
        "pair": net(planes, last="Softmax", more=["logits"]),
        "rows": net([3 * SIDE, SIDE], numpy.repeat(WEIGHTS, SIDE, 1), axes=(2,)),
        # No numbers for an image that is red: the roots of negative ones.
        "roots": net(planes, numpy.stack([[-9, 1, 1], [-9, 4, 1], [-9, 1, 4], [-9, 1, 1]]).astype("f"), BIAS * 0 + 2, last="Sqrt"),
        # And for one that is dark, as nets that divide by an image's contrast have none: an engine is warmed up with such images.
        "shadows": net(planes, bias=BIAS * 0, last="Reciprocal"),
    }
    for name, model in nets.items():
        onnx.checker.check_model(model, full_check=True)
        onnx.save_model(model, folder / f"{name}.onnx")
    onnx.save_model(
        net(planes), folder / "outside.onnx", save_as_external_data=True, location="outside.bin", size_threshold=0
    )
    light = pathlib.Path(onnx.__file__).parent / "backend/test/data/light"
    for name in ["squeezenet", "densenet121"]:
        (folder / f"{name}.onnx").write_bytes((light / f"light_{name}.onnx").read_bytes())


main()
