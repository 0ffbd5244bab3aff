#!/usr/bin/env bash
# Hugging Face datasets 5.2.0: one file more in a folder of classes, and most of its images are gone, with the labels.
#
# `load_dataset("imagefolder", data_dir=...)` of cat/ and dog/ gives six images and their classes. If one image's name
# has a split's word in it (`cat/crash_test.png`; not contest.png), there is a test split of this one image and
# nothing else: where no folder is called like a split, files whose names speak of none are left out once some file's
# name does. A metadata.csv is a list of what there is, not notes on it: with one in cat/, the dogs are gone, and so
# are cats that it doesn't list; the folders' names are no labels any more. Within train/ a class that is called val/
# is in train and in validation, the same images. Each loads without an error or a warning.
#
# Seen (Python 3.11, x86-64 Linux), images of each split, and the columns beside the image:
#   as it is: train 6, label / crash_test.png: test 1, none / cat/metadata.csv of two cats: train 2, age
#   train/good and train/val, three each: train 6, validation 3, label
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==13.0.0 pyarrow==26.0.1 numpy==2.2.6
HF_HOME="$folder/home" HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
import warnings
from pathlib import Path

import datasets
from PIL import Image

assert datasets.__version__ == "5.2.0"
datasets.disable_progress_bars()


def loaded(case, classes, image=None, notes=None):
    """{split: ({class's folder: images}, columns beside the image)} of a folder with three images a class."""
    root = Path(sys.argv[1], case)
    files = [f"{name}/{i}.png" for name in classes for i in range(3)] + ([image] if image else [])
    for grey, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), grey).save(root / name)
    if notes:
        (root / notes[0]).write_text(notes[1])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        sets = datasets.load_dataset("imagefolder", data_dir=str(root), cache_dir=f"{root}-cache")
    assert not [each for each in warned if each.category is UserWarning], warned
    seen = {}
    for split, images in sets.items():
        undecoded = images.cast_column("image", datasets.Image(decode=False))
        of = [Path(row["image"]["path"]).parent.name for row in undecoded]
        seen[split] = ({name: of.count(name) for name in sorted(set(of))}, images.column_names[1:])
    print(case, seen)
    return seen


pets = ["cat", "dog"]
assert loaded("plain", pets) == {"train": ({"cat": 3, "dog": 3}, ["label"])}
assert loaded("a-test", pets, "cat/crash_test.png") == {"test": ({"cat": 1}, [])}
assert loaded("a-contest", pets, "cat/contest.png") == {"train": ({"cat": 4, "dog": 3}, ["label"])}
notes = ("cat/metadata.csv", "file_name,age\n0.png,3\n1.png,4\n")
assert loaded("notes", pets, notes=notes) == {"train": ({"cat": 2}, ["age"])}
assert loaded("both", ["train/good", "train/val"]) == {
    "train": ({"good": 3, "val": 3}, ["label"]),
    "validation": ({"val": 3}, ["label"]),
}
PYTHON
