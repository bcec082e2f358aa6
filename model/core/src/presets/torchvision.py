#!/usr/bin/env python3
"""Writes torchvision.tsv: for each set of weights of torchvision that classifies images, how an image becomes the net's input.

    pip download --no-deps torchvision
    python3 torchvision.py torchvision-*.whl > torchvision.tsv
    python3 torchvision.py torchvision-*.whl | diff torchvision.tsv -      # to check it

Read from the wheel's sources, so that PyTorch is not needed. What is not as expected ends it with an error, so that no set of weights
is left out or misread: another transform, or an argument that this script does not know."""

import ast
import re
import sys
import zipfile

FILTERS = {"BILINEAR": "bilinear", "BICUBIC": "bicubic"}


def defaults(tree):
    """The arguments of ImageClassification that need not be given."""
    (form,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "ImageClassification"]
    (init,) = [node for node in form.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    pairs = zip(init.args.kwonlyargs, init.args.kw_defaults)
    return {argument.arg: ast.unparse(value) for argument, value in pairs if value}


def weights(tree):
    """(class, member, the arguments of its transform), and for DEFAULT the member that it is."""
    for form in tree.body:
        if not (isinstance(form, ast.ClassDef) and any(ast.unparse(base) == "WeightsEnum" for base in form.bases)):
            continue
        for node in form.body:
            if not isinstance(node, ast.Assign):
                continue
            member, value = ast.unparse(node.targets[0]), node.value
            if not isinstance(value, ast.Call):
                yield form.name, member, ast.unparse(value)
                continue
            assert ast.unparse(value.func) == "Weights", ast.unparse(value)
            (transform,) = [keyword.value for keyword in value.keywords if keyword.arg == "transforms"]
            assert ast.unparse(transform.func) == "partial", ast.unparse(transform)
            assert [ast.unparse(given) for given in transform.args] == ["ImageClassification"], ast.unparse(transform)
            yield form.name, member, {keyword.arg: ast.unparse(keyword.value) for keyword in transform.keywords}


def numbers(text):
    """A tuple of numbers, and of sums such as 1.0 / 255.0."""
    assert set(text) <= set("0123456789.,/() "), text
    return eval(text, {"__builtins__": {}})


def main():
    wheel = zipfile.ZipFile(sys.argv[1])
    read = lambda name: ast.parse(wheel.read(name))
    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    version = re.search(r"^Version: (\S+)", wheel.read(metadata).decode(), re.M)[1]
    given = defaults(read("torchvision/transforms/_presets.py"))
    assert given.pop("antialias") == "True"
    print(f"# Written by torchvision.py from torchvision {version}: name, resize_size, crop_size, interpolation, mean, std.")
    for name in sorted(wheel.namelist()):
        if not re.fullmatch(r"torchvision/models/(quantization/)?\w+\.py", name):
            continue
        sets = {}
        for form, member, arguments in weights(read(name)):
            if isinstance(arguments, str):
                arguments = sets[form, arguments]
            sets[form, member] = arguments
            said = {**given, **arguments}
            resize, crop, interpolation = said.pop("resize_size"), said.pop("crop_size"), said.pop("interpolation")
            colours = [",".join(map(str, numbers(said.pop(key)))) for key in ("mean", "std")]
            assert not said, f"{form}.{member}: {said}"
            print(f"{form}.{member}", int(resize), int(crop), FILTERS[interpolation.split(".")[-1]], *colours, sep="\t")


main()
