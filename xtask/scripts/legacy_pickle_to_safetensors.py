"""Turns a state dict saved by PyTorch before 1.6 (a stream of pickles) into a safetensors file. Standard library only.

usage: legacy_pickle_to_safetensors.py IN.pth OUT.safetensors

A pickle can name any function; this reader knows the three names that a state dict needs and refuses all others. The output's
bytes are fixed by the input: tensors in the order of their names, each contiguous, the header without spaces and padded to a
multiple of 8. Only float32 tensors are kept: the integers (`num_batches_tracked`) are counters of training.
"""

import collections
import json
import pickle
import struct
import sys

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
ITEM_SIZE = {"FloatStorage": 4, "LongStorage": 8}


class StorageType:
    def __init__(self, name):
        self.name = name


class Tensor:
    """What the pickle says of a tensor; its bytes come after all pickles."""

    def __init__(self, storage, offset, shape, stride, *_):
        self.storage, self.offset, self.shape, self.stride = storage, offset, list(shape), list(stride)

    def contiguous_bytes(self, storage):
        """The tensor's bytes, last dimension innermost; most of these weights are stored transposed."""
        words = memoryview(storage).cast("I")
        dimensions = [(size, step) for size, step in zip(self.shape, self.stride) if size != 1] or [(1, 1)]
        reach = self.offset + sum((size - 1) * step for size, step in dimensions)
        if any(size < 1 or step < 1 for size, step in dimensions) or reach >= len(words):
            raise ValueError("a tensor reaches past its storage")
        *outer, (size, step) = dimensions
        starts = [self.offset]
        for outer_size, outer_step in outer:
            starts = [start + i * outer_step for start in starts for i in range(outer_size)]
        return b"".join(words[start : start + (size - 1) * step + 1 : step].tobytes() for start in starts)


class Reader(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Tensor
        if module == "torch" and name in ITEM_SIZE:
            return StorageType(name)
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which no state dict needs")

    def persistent_load(self, pid):
        kind, storage_type, key, _location, _count, view = pid
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError(f"a storage of an unknown kind: {pid!r}")
        return key, storage_type.name


def read(path):
    """Returns {name: (shape, little-endian float32 bytes)}."""
    with open(path, "rb") as file:
        if Reader(file).load() != MAGIC or Reader(file).load() != PROTOCOL:
            raise ValueError(f"{path} is not a PyTorch file of before version 1.6")
        if not Reader(file).load()["little_endian"]:
            raise ValueError(f"{path} was written on a big-endian machine")
        state = Reader(file).load()
        kinds = dict(tensor.storage for tensor in state.values())
        storages = {}
        for key in Reader(file).load():
            (count,) = struct.unpack("<q", file.read(8))
            size = count * ITEM_SIZE[kinds[key]]
            storages[key] = file.read(size)
            if len(storages[key]) != size:
                raise ValueError(f"{path} ends in the middle of a tensor")

    tensors = {}
    for name, tensor in state.items():
        key, kind = tensor.storage
        if kind != "FloatStorage":
            continue
        tensors[name] = (tensor.shape, tensor.contiguous_bytes(storages[key]))
    return tensors


def write(path, tensors):
    header, offset = {}, 0
    for name in sorted(tensors):
        shape, data = tensors[name]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for name in sorted(tensors):
            file.write(tensors[name][1])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write(sys.argv[2], read(sys.argv[1]))
