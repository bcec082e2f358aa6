"""KServe's own Python clients against a gateway, by REST and gRPC, on both models: live, ready, infer, batches, errors.

kserve_client.py HTTP-ADDRESS GRPC-ADDRESS
"""

import asyncio
import sys

import numpy
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.inference_client import InferenceGRPCClient


def file(name):
    with open(f"data/samples/{name}", "rb") as image:
        return image.read()


MODELS = {
    "fashion-mnist": (10, {"sandal5.png": "Sandal", "trouser1.png": "Trouser"}),
    "bird": (59, {"scarlet_macaw.webp": "macaw", "hen.webp": "hen"}),
}


async def fails(call, *words):
    try:
        await call
    except Exception as error:  # Each client has kinds of its own.
        said = f"{error} {getattr(getattr(error, 'response', None), 'text', '')}"
        assert all(word in said for word in words), (said, words)
        return
    raise AssertionError("it did not fail")


def request(model, images, is_http, **more):
    # By REST the client writes what it is given as JSON: bytes stand there in base64, which it leaves to the caller.
    import base64

    data = [base64.b64encode(image).decode() for image in images] if is_http else numpy.array(images, numpy.object_)
    image = InferInput("image", [len(images)], "BYTES", data if is_http else None)
    if not is_http:
        image.set_data_from_numpy(data, binary_data=True)
    return InferRequest(model, [image], **more)


async def check(infer, is_http):
    for model, (classes, images) in MODELS.items():
        files = [file(name) for name in images]
        answer = await infer(request(model, files, is_http, request_id="mine"))
        assert answer.id == "mine" and answer.model_name == model, answer
        outputs = {output.name: output for output in answer.outputs}
        rows = outputs["probabilities"].as_numpy().reshape(outputs["probabilities"].shape)
        assert rows.shape == (len(files), classes) and (rows.sum(axis=1) < 1.001).all(), rows
        labels = [text.decode() if isinstance(text, bytes) else text for text in outputs["label"].as_numpy()]
        assert labels == list(images.values()), labels
        await fails(infer(request(model, [files[0], b"no image"], is_http)), "image 1")
    await fails(infer(request("cat", [files[0]], is_http)), "cat")


async def main(http, grpc):
    rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    url = f"http://{http}"
    assert await rest.is_server_live(url) and await rest.is_server_ready(url)
    assert await rest.is_model_ready(url, "bird")
    await check(lambda asked: rest.infer(url, asked, model_name=asked.model_name), True)
    await rest.close()

    client = InferenceGRPCClient(grpc, retries=0)
    assert await client.is_server_live() and await client.is_server_ready()
    assert await client.is_model_ready("bird") and not await client.is_model_ready("cat")
    await check(client.infer, False)
    await client.close()


asyncio.run(main(*sys.argv[1:]))
