"""The peers of `make bench-models`: OpenVINO's own Python interface and ONNX Runtime's on the same file, on one thread. For each line
`batch seconds` they compute that many images at once until so many seconds of CPU time have gone, and print images a second."""

import sys
import time

import numpy


def openvino(path):
    from openvino import Core

    core = Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}

    def of(images):
        model = core.read_model(path)
        model.reshape([images.shape[0], *images.shape[1:]])
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        return lambda: request.infer({0: images}, share_inputs=True, share_outputs=True)

    return of


def onnxruntime(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: lambda: session.run(None, {name: images})


engine, path, side = {"openvino": openvino, "onnxruntime": onnxruntime}[sys.argv[1]], sys.argv[2], int(sys.argv[3])
of, prepared = engine(path), {}
for line in sys.stdin:
    batch, seconds = line.split()
    if batch not in prepared:
        pixels = numpy.arange(int(batch) * 3 * side * side, dtype=numpy.float32) * 31 / 7 % 256
        images = ((pixels - 127) / 128).reshape(int(batch), 3, side, side)
        prepared[batch] = of(images)
        prepared[batch]()
    start, done = time.process_time(), 0
    while time.process_time() - start < float(seconds):
        prepared[batch]()
        done += int(batch)
    print(done / (time.process_time() - start), flush=True)
