"""Photographs that are free to use, from Debian's package gcompris-qt-data: gcompris.py FOLDER, in which two folders are made, `birds` and
`others` (animals, fish, tools, monuments, landscapes). To measure how often "not a bird" is wrong.

    apt-get download gcompris-qt-data && dpkg-deb -x gcompris-qt-data_*.deb unpacked
    python3 gcompris.py photographs unpacked/usr/share/gcompris-qt/rcc/*.rcc

The package's copyright file says whose each is (CC0, CC-BY, CC-BY-SA, public domain); version 3.1-2 holds 12 and 242 of them."""

import pathlib
import struct
import sys

KINDS = "categorization details erase explore_farm_animals explore_monuments explore_world_animals".split()
BIRDS = "chicken duck gosling heron kingfisher northern_harrier owl penguin scarlet_macaw spoonbills swans toucan".split()
# What is drawn, not photographed.
DRAWN = {"numbers", "alphabets"}
ICON = 6000


def entries(data):
    """Names and contents of a Qt resource file: a tree of nodes, each with where its name and its bytes are."""
    version, tree, contents, names = struct.unpack(">4I", data[4:20])
    node = 14 if version < 2 else 22

    def name(at):
        length = struct.unpack(">H", data[names + at : names + at + 2])[0]
        return data[names + at + 6 : names + at + 6 + 2 * length].decode("utf-16-be")

    def walk(number, path):
        at = tree + number * node
        named, flags = struct.unpack(">IH", data[at : at + 6])
        path = path / name(named) if number else path
        if flags & 2:
            count, first = struct.unpack(">II", data[at + 6 : at + 14])
            for child in range(first, first + count):
                yield from walk(child, path)
        elif not flags & 5:  # Not compressed: photographs are not.
            start = contents + struct.unpack(">I", data[at + 10 : at + 14])[0]
            length = struct.unpack(">I", data[start : start + 4])[0]
            yield path, data[start + 4 : start + 4 + length]

    yield from walk(0, pathlib.PurePosixPath())


def main():
    target, files = pathlib.Path(sys.argv[1]), map(pathlib.Path, sys.argv[2:])
    counts = {"birds": 0, "others": 0}
    for file in sorted(file for file in files if file.stem in KINDS):
        for path, content in entries(file.read_bytes()):
            if path.suffix not in (".webp", ".jpg") or len(content) < ICON or path.parent.name in DRAWN:
                continue
            kind = "birds" if path.stem in BIRDS else "others"
            folder = target / kind / f"{file.stem}-{path.parent.name}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path.name).write_bytes(content)
            counts[kind] += 1
    print(counts)


main()
