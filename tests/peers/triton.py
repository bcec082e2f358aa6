"""NVIDIA's Triton clients against a gateway: everything that they have and it has, on both models.

triton.py HTTP-ADDRESS GRPC-ADDRESS
"""

import sys

import numpy
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException


def file(name):
    with open(f"data/samples/{name}", "rb") as image:
        return image.read()


MODELS = {
    "fashion-mnist": (10, {"sandal5.png": b"Sandal", "trouser1.png": b"Trouser"}),
    "bird": (59, {"scarlet_macaw.webp": b"macaw", "hen.webp": b"hen"}),
}


def fails(call, *words):
    try:
        call()
    except InferenceServerException as error:
        assert all(word in str(error) for word in words), (str(error), words)
        return
    raise AssertionError("it did not fail")


def check(triton, client, is_http):
    assert client.is_server_live() and client.is_server_ready()
    assert not client.is_model_ready("cat")
    server = client.get_server_metadata()
    assert (server["name"] if is_http else server.name) == "mlaas"
    index = client.get_model_repository_index()
    for model, (classes, images) in MODELS.items():
        assert client.is_model_ready(model) and client.is_model_ready(model, "1")
        metadata = client.get_model_metadata(model) if is_http else client.get_model_metadata(model, as_json=True)
        assert metadata["inputs"][0]["datatype"] == "BYTES", metadata
        assert [output["name"] for output in metadata["outputs"]] == ["probabilities", "label"], metadata
        assert "1" in metadata["versions"], metadata
        listed = index if is_http else [{"name": entry.name, "state": entry.state} for entry in index.models]
        assert any(entry["name"] == model and entry["state"] == "READY" for entry in listed), listed

        tensor = numpy.array([file(name) for name in images], dtype=numpy.object_)
        image = triton.InferInput("image", [len(images)], "BYTES")
        image.set_data_from_numpy(tensor)
        answer = client.infer(model, [image], request_id="mine")
        assert list(answer.as_numpy("label")) == list(images.values()), answer.as_numpy("label")
        probabilities = answer.as_numpy("probabilities")
        assert probabilities.shape == (len(images), classes) and probabilities.dtype == numpy.float32
        response = answer.get_response()
        assert (response["id"] if is_http else response.id) == "mine"

        best = [triton.InferRequestedOutput("probabilities", class_count=3)]
        answer = client.infer(model, [image], model_version="1", outputs=best).as_numpy("probabilities")
        assert answer.shape == (len(images), 3), answer
        for row, (columns, label) in enumerate(zip(answer, images.values())):
            value, column, name = columns[0].split(b":")
            assert name == label, columns
            assert int(column) == probabilities[row].argmax(), columns
            assert abs(float(value) - probabilities[row].max()) < 1e-5, columns
        if is_http:
            plain = [triton.InferRequestedOutput("probabilities", binary_data=False)]
            answer = client.infer(model, [image], outputs=plain).as_numpy("probabilities")
            assert numpy.allclose(answer, probabilities, atol=1e-6)
        # Asynchronously, several at once.
        if is_http:
            for request in [client.async_infer(model, [image]) for _ in range(8)]:
                assert list(request.get_result().as_numpy("label")) == list(images.values())
        # What is in service is the registry's to say: loading looks at it, and it is not let go.
        client.load_model(model)
        client.load_model(model, config='{"version_policy": {"specific": {"versions": [1]}}}')
        fails(lambda: client.load_model(model, config='{"max_batch_size": 8}'), "version_policy")
        if is_http and model == "bird":
            fails(lambda: client.unload_model(model), "still served")
        fails(lambda: client.infer(model, [image], model_version="99"), "99")

        bad = triton.InferInput("image", [2], "BYTES")
        bad.set_data_from_numpy(numpy.array([tensor[0], b"no image"], dtype=numpy.object_))
        fails(lambda: client.infer(model, [bad]), "image 1")
        pixels = triton.InferInput("image", [1, 3, 8, 8], "FP32")
        pixels.set_data_from_numpy(numpy.zeros((1, 3, 8, 8), numpy.float32))
        fails(lambda: client.infer(model, [pixels]), "FP32")
    fails(lambda: client.infer("cat", [image]), "cat")
    fails(lambda: client.get_model_metadata("cat"), "cat")


check(tritonclient.http, tritonclient.http.InferenceServerClient(sys.argv[1], concurrency=8), True)
check(tritonclient.grpc, tritonclient.grpc.InferenceServerClient(sys.argv[2]), False)
print("all as expected")
