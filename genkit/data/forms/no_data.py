"""What is a file that holds no images which are read, and what helps? It is called what it is, by its content."""

from __future__ import annotations

import re

#: How texts begin, in lower case and without blanks before, and what they are.
TEXTS = {
    b"<!doctype html": "a web page, perhaps the one that a download ends at when it fails; download it again",
    b"<html": "a web page, perhaps the one that a download ends at when it fails; download it again",
    b"<?xml": "an XML document, perhaps what a server says when it fails; give the images themselves",
    b"<error>": "what a server says when it fails; download it again",
    b'{"error"': "what a server says when it fails; download it again",
    b'{"message"': "what a server says when it fails; download it again",
    b"\\documentclass": "a LaTeX document; give the images themselves",
    b"%pdf": "a PDF document; save its pictures as .png",
    b"# created by octave": "a file in Octave's text form; save it again with `save -v7`",
    b"version https://git-lfs": "a pointer to a file in Git LFS, and not the file; fetch it with `git lfs pull`",
}
#: The same of files that are no text.
BINARY = {
    b"SQLite format 3\x00": "a database of SQLite; write its images into a folder",
    b"Rar!\x1a\x07": "a RAR archive; unpack it, and give the folder",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it, and give the folder",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard; decompress it with `zstd -d`",
    b"\x04\x22\x4d\x18": "compressed by LZ4; decompress it with `lz4 -d`",
    b"\x1f\x9d": "compressed by `compress`; decompress it with `gunzip`",
}
PICKLE = "a pickle of Python objects, which can do anything when it is read, so that it isn't; "
SAVE = "save its images with numpy.savez, or as .png"
#: CIFAR-10's batches, as they are called.
CIFAR = re.compile(r"(data_batch_[1-6]|test_batch|batches\.meta)(\.pkl)?")


def what_it_is(name: str, beginning: bytes) -> str | None:
    """What a file is, with what helps, to go on after "is"; None where it may be data.

    Args:
        name: its last part.
        beginning: some hundred bytes, decompressed.
    """
    if not beginning:
        return "empty; copy or download it again"
    words = beginning.lstrip().lower()
    for start, what in TEXTS.items():
        if words.startswith(start):
            return what
    for mark, what in BINARY.items():
        if beginning.startswith(mark):
            return what
    if beginning[:1] == b"\x80" and beginning[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        if CIFAR.fullmatch(name):
            return f"{PICKLE}CIFAR-10 itself is `--dataset cifar10`"
        return PICKLE + SAVE
    if beginning.startswith(b"PK\x03\x04") and re.match(rb"[^/]{1,200}/(data\.pkl|\.format_version)", beginning[30:]):
        return f"a file of PyTorch's, {PICKLE}{SAVE}"
    if beginning[16:20] == b"\xde\xc0\xef\xbe":
        return "a database of LMDB; write its images into a folder"
    if _is_tfrecord(beginning):
        return "a TFRecord of TensorFlow's; write its images into a folder, or with numpy.savez"
    return None


def _is_tfrecord(beginning: bytes) -> bool:
    """Whether a file begins with a record's length (uint64) and the masked CRC-32C of that."""
    if len(beginning) < 12 or int.from_bytes(beginning[:8], "little") >= 1 << 40:
        return False
    check = 0xFFFFFFFF
    for byte in beginning[:8]:
        check ^= byte
        for _ in range(8):
            check = (check >> 1) ^ (0x82F63B78 if check & 1 else 0)
    check ^= 0xFFFFFFFF
    masked = ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return int.from_bytes(beginning[8:12], "little") == masked
