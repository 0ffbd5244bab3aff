"""The rows of docs/pictures.md: images, minutes, and who is trained on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from contenders import Contender, Images
from page import SETS

from genkit import data
from genkit.data import DataOptions
from genkit.data.sets import painter


class Missing(Exception):
    """The images of a row aren't here; the message says where they are looked for."""


class Row(NamedTuple):
    """Attributes:
    images: of each contender, given a folder for what has to be made; one, or one for each contender by name.
    minutes: of training, for each contender.
    """

    title: str
    minutes: float
    images: Callable[[Path, str], Images]
    contenders: dict[str, Contender]


def lying(*names: str) -> str:
    """The first of these paths that GENKIT_DATA has.

    Raises:
        Missing
    """
    root = Path(os.environ.get("GENKIT_DATA", "")).expanduser()
    for name in names:
        if (root / name).exists():
            return str((root / name).resolve())
    raise Missing(f"{root / names[0]} isn't there; say with GENKIT_DATA where it is")


def cifar(folder: Path, name: str) -> Images:
    place = lying("cifar10-jpeg/cifar10-11k.zip", "cifar10-jpeg", "cifar10")
    return Images(place, (), "CIFAR-10 as JPEG, 10,000 training images of 32×32")


def mnist(folder: Path, name: str) -> Images:
    lying("mnist")
    return Images("mnist", (), "MNIST, 60,000 training images of 28×28")


def faces(folder: Path, name: str) -> Images:
    return Images("faces", (), "the drawn `faces`, 20,000 of 32×32")


def olivetti(folder: Path, name: str) -> Images:
    """Olivetti's own, where GENKIT_DATA has them; or as many that genkit draws."""
    try:
        return Images(
            lying("olivetti", "olivetti.npz", "olivetti.mat", "olivettifaces.mat"), (), "Olivetti's 400 faces of 64×64"
        )
    except Missing:
        path = folder / "400-faces.npz"
        if not path.exists():
            drawn, _ = painter.draw(400, 64)
            np.savez(path, images=drawn.transpose(0, 2, 3, 1))
        return Images(str(path), (), "400 drawn faces of 64×64, as Olivetti's aren't here")


def some_of_mnist(folder: Path, name: str) -> Images:
    """The first images of MNIST, as many as the contender's name begins with."""
    lying("mnist")
    count = int(name.split()[0].replace(",", ""))
    if count == 60_000:
        return Images("mnist", (), "MNIST")
    path = folder / f"mnist-{count}.npz"
    if not path.exists():
        whole = data.load(DataOptions(dataset="mnist")).train
        np.savez(path, images=whole.images(whole.spread(count)).numpy()[:, 0])
    return Images(str(path), (), "sets cut from MNIST")


def genkit(model: str, *flags: str, sample: tuple[str, ...] | None = (), measures: tuple[str, ...] = ()) -> Contender:
    return Contender("genkit", model, flags, sample, measures)


EARLIER_GAN, EARLIER_VAE = Contender("earlier", "dcgan"), Contender("earlier", "vae")
CLASSES = ("--classes", "0-9")

ROWS: dict[str, Row] = {
    "cifar": Row(
        "Colour photographs",
        20,
        cifar,
        {
            "genkit dcgan": genkit("dcgan"),
            "genkit flow": genkit("flow"),
            "genkit vae": genkit("vae"),
            "earlier dcgan": EARLIER_GAN,
            "earlier vae": EARLIER_VAE,
            "denoising-diffusion-pytorch": Contender("diffusion"),
            "DCGAN example": Contender("example"),
        },
    ),
    "cifar-vae": Row(
        "Colour photographs given back",
        10,
        cifar,
        {
            "genkit vae": genkit("vae", measures=("reconstruction", "likelihood")),
            "earlier vae": Contender("earlier", "vae", measures=("reconstruction",)),
        },
    ),
    "olivetti": Row(
        "Four hundred faces",
        5,
        olivetti,
        {
            "genkit vae": genkit("vae", measures=("reconstruction",)),
            "genkit ae": genkit("ae", measures=("reconstruction",)),
            "genkit dcgan": genkit("dcgan"),
            "earlier vae": Contender("earlier", "vae", measures=("reconstruction",)),
            "earlier dcgan": EARLIER_GAN,
        },
    ),
    "faces": Row(
        "Drawn faces",
        15,
        faces,
        {"genkit dcgan": genkit("dcgan"), "genkit flow": genkit("flow"), "earlier dcgan": EARLIER_GAN},
    ),
    "mnist": Row(
        "Digits",
        5,
        mnist,
        {
            "genkit vae": genkit("vae"),
            "genkit dcgan": genkit("dcgan"),
            "genkit flow": genkit("flow"),
            "earlier vae": EARLIER_VAE,
            "earlier dcgan": EARLIER_GAN,
        },
    ),
    "flow": Row(
        "Flow matching on digits",
        20,
        mnist,
        {
            "genkit flow": genkit("flow", measures=("likelihood", "walk")),
            "genkit vae of grey values": genkit("vae", "--likelihood", "logistic", measures=("likelihood",)),
        },
    ),
    "classes": Row(
        "Digits of a class",
        5,
        mnist,
        {
            "genkit vae, a prior a class": genkit("vae", sample=CLASSES),
            "genkit vae": genkit("vae", "--condition", "label", sample=CLASSES),
            "genkit dcgan": genkit("dcgan", "--condition", "label", sample=CLASSES),
            "genkit flow": genkit("flow", "--condition", "label", sample=CLASSES),
        },
    ),
    "elbo": Row(
        "The default VAE's likelihood",
        0,
        mnist,
        {
            "genkit vae": Contender("genkit", "vae", sample=None, limited=False),
            "earlier vae": Contender("earlier", "vae", sample=None, limited=False),
        },
    ),
    "sets": Row(
        "Sets of any size",
        0,
        some_of_mnist,
        {name: Contender("genkit", name.split()[1], (), None, ("reconstruction",), limited=False) for name in SETS},
    ),
}
