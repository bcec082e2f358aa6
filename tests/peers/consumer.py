"""The peer of `make bench-peers`: what one writes in an afternoon with Kafka's client, Pillow and ONNX Runtime. Bird images from one
topic, labels to another, in batches of eight, one thread."""

import io
import json
import sys

import numpy
import onnxruntime
from confluent_kafka import Consumer, Producer
from PIL import Image

servers, group, requests, results, model = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name


def values(file):
    image = Image.open(io.BytesIO(file)).convert("RGB")
    side = 0.875 * min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    image = image.resize((224, 224), Image.Resampling.BICUBIC, box=box)
    return ((numpy.asarray(image, dtype=numpy.float32) - 127) / 128).transpose(2, 0, 1)


consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "auto.offset.reset": "earliest"})
producer = Producer({"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True})
consumer.subscribe([requests])
while True:
    messages = [message for message in consumer.consume(8, timeout=1) if not message.error()]
    if messages:
        logits = session.run(None, {name: numpy.stack([values(message.value()) for message in messages])})[0]
        powers = numpy.exp(logits - logits.max(axis=1, keepdims=True))
        for message, row in zip(messages, powers / powers.sum(axis=1, keepdims=True)):
            best = [{"index": int(at), "probability": float(row[at])} for at in row.argsort()[::-1][:5]]
            producer.produce(results, key=message.key(), value=json.dumps({"predictions": best}))
        producer.poll(0)
