"""Tests of legacy_pickle_to_safetensors.py, without torch: run by `cargo test -p xtask`."""

import collections
import json
import os
import pickle
import struct
import sys
import tempfile
import types
import unittest

import legacy_pickle_to_safetensors as converter


class FloatStorage:
    pass


class LongStorage:
    pass


def _rebuild_tensor_v2(*_):
    raise AssertionError("only its name is written")


class Stored:
    """Pickles as a tensor of PyTorch does."""

    def __init__(self, key, offset, shape, stride):
        self.arguments = (key, offset, shape, stride, False, collections.OrderedDict())

    def __reduce__(self):
        return _rebuild_tensor_v2, self.arguments


class Key:
    def __init__(self, kind, key, count):
        self.pid = ("storage", kind, key, "cpu", count, None)


class Writer(pickle.Pickler):
    def persistent_id(self, value):
        return value.pid if isinstance(value, Key) else None


def legacy_file(path, state, storages):
    """Writes what torch.save did before 1.6."""
    with open(path, "wb") as file:
        for value in (converter.MAGIC, converter.PROTOCOL, {"little_endian": True}, state, [key for key, *_ in storages]):
            Writer(file, protocol=2).dump(value)
        for _, code, values in storages:
            file.write(struct.pack("<q", len(values)) + struct.pack(f"<{len(values)}{code}", *values))


class Conversion(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "in.pth")
        self.out = os.path.join(folder.name, "out.safetensors")
        # Pickles name functions by module: these stand in for PyTorch's while the file is written.
        for module, members in {"torch": (FloatStorage, LongStorage), "torch._utils": (_rebuild_tensor_v2,)}.items():
            stand_in = types.ModuleType(module)
            for member in members:
                member.__module__ = module
                setattr(stand_in, member.__name__, member)
            sys.modules[module] = stand_in
            self.addCleanup(sys.modules.pop, module)

    def test_transposed_shared_and_counted(self):
        floats, longs = Key(FloatStorage, "a", 8), Key(LongStorage, "b", 1)
        state = collections.OrderedDict(
            transposed=Stored(floats, 0, (3, 2, 1), (1, 3, 1)),
            end=Stored(floats, 6, (2,), (1,)),
            num_batches_tracked=Stored(longs, 0, (), ()),
        )
        legacy_file(self.path, state, [("a", "f", [0, 1, 2, 3, 4, 5, 6, 7]), ("b", "q", [9])])
        converter.write(self.out, converter.read(self.path))
        with open(self.out, "rb") as file:
            data = file.read()
        (size,) = struct.unpack("<Q", data[:8])
        self.assertEqual(size % 8, 0)
        header = json.loads(data[8 : 8 + size])
        self.assertEqual(list(header), ["end", "transposed"])
        self.assertEqual(header["transposed"], {"dtype": "F32", "shape": [3, 2, 1], "data_offsets": [8, 32]})
        self.assertEqual(struct.unpack("<8f", data[8 + size :]), (6, 7, 0, 3, 1, 4, 2, 5))

    def test_a_tensor_past_its_storage_is_refused(self):
        state = collections.OrderedDict(x=Stored(Key(FloatStorage, "a", 2), 1, (2,), (1,)))
        legacy_file(self.path, state, [("a", "f", [0, 1])])
        with self.assertRaisesRegex(ValueError, "past its storage"):
            converter.read(self.path)

    def test_a_short_file_is_refused(self):
        state = collections.OrderedDict(x=Stored(Key(FloatStorage, "a", 2), 0, (2,), (1,)))
        legacy_file(self.path, state, [("a", "f", [0, 1])])
        with open(self.path, "r+b") as file:
            file.truncate(os.path.getsize(self.path) - 1)
        with self.assertRaisesRegex(ValueError, "ends in the middle"):
            converter.read(self.path)

    def test_a_pickle_that_calls_is_refused(self):
        class Evil:
            def __reduce__(self):
                return os.system, ("touch /tmp/evil",)

        legacy_file(self.path, Evil(), [])
        with self.assertRaisesRegex(pickle.UnpicklingError, "system, which no state dict needs"):
            converter.read(self.path)


if __name__ == "__main__":
    unittest.main()
