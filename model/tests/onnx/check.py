"""Holds exported ONNX files to what libtorch gave: check.py FOLDER, which holds for each case NAME.onnx, and NAME.json with
{"shape": [n, size, size, channels], "mean": [...], "std": [...], "pixels": [...], "logits": [[...]]}.

Each file must pass ONNX's checker, and ONNX Runtime and OpenVINO must give logits within 1e-4, for all images at once and
one by one. Prints a line for each case; exits with 1 and says what differs where something does."""

import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime
import openvino

TOLERANCE = 1e-4


def runtime(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def vino(path):
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda images: compiled([images])[0]


def check(path):
    onnx.checker.check_model(onnx.load(path), full_check=True)
    case = json.loads(path.with_suffix(".json").read_text())
    pixels = numpy.array(case["pixels"], numpy.float32).reshape(case["shape"])
    normalised = (pixels - numpy.array(case["mean"], numpy.float32)) / numpy.array(case["std"], numpy.float32)
    images = numpy.ascontiguousarray(normalised.transpose(0, 3, 1, 2))
    expected = numpy.array(case["logits"], numpy.float32)
    for name, engine in [("ONNX Runtime", runtime(path)), ("OpenVINO", vino(path))]:
        together = engine(images)
        alone = numpy.concatenate([engine(image[None]) for image in images])
        for how, found in [("together", together), ("one by one", alone)]:
            if found.shape != expected.shape:
                sys.exit(f"{path.name}, {name}, {how}: shape {found.shape}, not {expected.shape}")
            difference = float(numpy.abs(found - expected).max())
            print(f"{path.name}, {name}, {how}: {difference:.1e}")
            if not difference <= TOLERANCE:
                sys.exit(f"{path.name}, {name}, {how}: logits differ by up to {difference}")


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
    if not paths:
        sys.exit(f"there is no ONNX file in {sys.argv[1]}")
    for path in paths:
        check(path)


main()
