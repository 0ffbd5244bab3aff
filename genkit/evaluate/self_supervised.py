"""The judge of images without labels: a net that learned to tell them apart, trained once, kept, and verified.

It is trained by SimCLR (Chen et al., ICML 2020): two views of each image, moved, turned over, recoloured and partly
hidden at random, are to have features nearer to each other than to those of all other images. The recipe, its seed and
the number of steps are fixed, whatever the number of images; so is what it costs: a minute or two of one core.

It lies as a folder beside the classifiers (`judge_store.py`), weights as safetensors, the rest as JSON with their
SHA-256. Training anew on the same machine gives the same bits; on another it may not, so a figure has its hash.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import time
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from tqdm import tqdm

from genkit import data
from genkit.contract import ImageShape
from genkit.data import DataOptions
from genkit.data.dataset import Dataset, Split
from genkit.device import seeded
from genkit.errors import GenkitError, in_one_line
from genkit.evaluate import judge_store
from genkit.evaluate.extractor import Extractor
from genkit.evaluate.figure import LeftOut
from genkit.files import from_json, read_plain, scratch_folder, to_json, write_file
from genkit.latent.images import to_float
from genkit.step.accelerate import precision_kept
from genkit.step.passes import evaluation_batch

logger = logging.getLogger("genkit")

#: Of the recipe below; another number is another judge.
RECIPE_VERSION = 1
STEPS, BATCH, WARM_UP = 300, 128, 20
LEARNING_RATE, WEIGHT_DECAY, TEMPERATURE = 2e-3, 1e-4, 0.2
WIDTH, FEATURES, PROJECTED = 16, 128, 128
#: Pixels a side that it sees of larger images, and of the maps of its first layer.
SEEN_AT, MAPS = 64, 32
#: Training images at least; of fewer there is too little to tell apart.
FEWEST = 8

#: A view: moved by up to this share of a side, with this share of a side hidden in each direction.
MOVED, HIDDEN = 0.25, 0.5
#: Brightness, contrast and saturation are changed by up to these shares, and each channel by the last.
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.6, 0.2
GREY = 0.15

WEIGHTS, ABOUT = "model.safetensors", "judge.json"
MOST_BYTES = 1 << 28


class About(BaseModel):
    """What stands beside the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: int
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    images: int
    steps: int
    loss: Annotated[float, Field(allow_inf_nan=False)]
    seconds: float


class SelfSupervised(Extractor):
    """A net that learned from images alone.

    Args:
        net: trained.
        about: what is known of it.
        dataset: the name of its images.
        image: their shape.
    """

    prefix = "self_supervised_"

    def __init__(self, net: Net, about: About, dataset: str, image: ImageShape, device: torch.device):
        self.net = net.eval().requires_grad_(False).to(device)
        self.digest, self.about, self.dataset = about.sha256, about, dataset
        self.image, self.device = image, device

    @property
    def name(self) -> str:
        """`self-supervised net of photos 3f2a9c1d (SimCLR, recipe 1: 4,000 images, 300 steps)`."""
        return (
            f"self-supervised net of {self.dataset} {self.digest[:8]} (SimCLR, recipe {self.about.recipe}: "
            f"{self.about.images:,} images, {self.about.steps} steps)"
        )

    @property
    def by(self) -> str:
        return f"the self-supervised net {self.digest[:8]}"

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        parts = images.split(evaluation_batch(self.image))
        return torch.cat([self.net.features(part.to(self.device)).cpu() for part in parts])


def of(options: DataOptions, device: torch.device) -> SelfSupervised | LeftOut:
    """The judge of a set of images, trained first if there is none yet; or why there can't be one.

    The random generators are left as they were.

    Raises:
        GenkitError: when the images can't be read, or no folder takes the judge.
    """
    whole = {"labels_per_class": None, "labels_seed": 0, "beside": None, "beside_images": None}
    options = data.located(options.model_copy(update=whole))
    dataset = data.load(options)
    if len(dataset.train) < FEWEST:
        there = f"{dataset.name} has {len(dataset.train)} training images"
        return LeftOut("judge", f"{there}, and no classes; a judge takes {FEWEST} to learn from")
    key = ["self-supervised", RECIPE_VERSION, STEPS, BATCH, WIDTH, dataset.digest(), list(dataset.shape)]
    name = judge_store.folder_name(dataset.name, key)
    with seeded(0, device):
        net, about = judge_store.found_or_trained(
            name, lambda: find(name, dataset), lambda folder: train(dataset, folder, device)
        )
    return SelfSupervised(net, about, Path(dataset.name).name, dataset.shape, device)


# ---------------------------------------------------------------------------------------------------------------------
# Kept
# ---------------------------------------------------------------------------------------------------------------------


def find(name: str, dataset: Dataset) -> tuple[Net, About] | None:
    """The judge, if it has been trained and every byte of it is as it was written."""
    for folder in judge_store.folders(name):
        try:
            if folder.is_dir():
                return read(folder, dataset.shape)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            logger.warning("%s is damaged (%s); it isn't used", folder, in_one_line(error))
    return None


def read(folder: Path, image: ImageShape) -> tuple[Net, About]:
    """What lies in a folder.

    Raises:
        OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError: when it isn't as it was written.
    """
    about = About.model_validate(from_json(read_plain(folder / ABOUT, 1 << 16)))
    content = read_plain(folder / WEIGHTS, MOST_BYTES)
    if hashlib.sha256(content).hexdigest() != about.sha256:
        raise ValueError(f"{WEIGHTS} has another SHA-256")
    if (about.recipe, about.steps) != (RECIPE_VERSION, STEPS):
        raise ValueError("it is of another recipe")
    net = Net(image)
    net.load_state_dict(load(content))
    return net, about


def keep(folder: Path, net: Net, about: About, content: bytes) -> None:
    """Keep a judge as `folder`, in place of a damaged one.

    Raises:
        OSError, GenkitError: when it can't be written.
    """
    judge_store.make_room(folder)
    with scratch_folder(folder.parent, f".{folder.name}.") as out:
        write_file(out / WEIGHTS, content)
        write_file(out / ABOUT, to_json(about.model_dump()))
        out.rename(folder)


# ---------------------------------------------------------------------------------------------------------------------
# Trained
# ---------------------------------------------------------------------------------------------------------------------


def train(dataset: Dataset, folder: Path, device: torch.device) -> tuple[Net, About]:
    """Train the judge and keep it.

    Raises:
        GenkitError: when it can't be trained or written.
    """
    logger.info("training the judge of %s, which has no labels, once, a minute or two", dataset.name)
    began = time.monotonic()
    with torch.enable_grad(), precision_kept():
        net, loss = trained(dataset.train, dataset.shape, device)
    if not math.isfinite(loss):
        raise GenkitError(f"the judge of {dataset.name} can't be trained: its loss isn't finite")
    content = save({name: each.cpu().contiguous() for name, each in net.state_dict().items()})
    about = About(
        recipe=RECIPE_VERSION,
        sha256=hashlib.sha256(content).hexdigest(),
        images=len(dataset.train),
        steps=STEPS,
        loss=loss,
        seconds=round(time.monotonic() - began, 1),
    )
    try:
        keep(folder, net, about, content)
    except OSError as error:
        raise judge_store.unwritable(folder, error) from error
    logger.info("the judge is %s, kept in %s", about.sha256[:8], folder)
    return net, about


def trained(images: Split, shape: ImageShape, device: torch.device) -> tuple[Net, float]:
    """A net that has been trained, and its last steps' mean loss, in nats."""
    net = Net(shape).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    last = torch.zeros((), device=device)
    with tqdm(desc="training the judge", total=STEPS, unit=" steps", disable=None, leave=False) as bar:
        for step in range(STEPS):
            rate = min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / STEPS)) / 2
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * rate
            # Of few images each is seen once a step, or it would be held against itself.
            chosen = torch.randperm(len(images))[:BATCH].sort().values
            batch = to_float(images.images(chosen)).to(device)
            loss = contrast(net.projected(torch.cat([view(batch), view(batch)])))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            last = loss.detach() if step < STEPS - 10 else last * 0.9 + loss.detach() * 0.1
            bar.update()
    return net.eval(), float(last)


def contrast(projected: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """The cross-entropy, in nats, of finding each view's other one among all views but itself (NT-Xent).

    Args:
        projected: (2N, P), of the first views of N images, then of their second ones.
    """
    count = len(projected) // 2
    directions = F.normalize(projected, dim=1)
    likeness = (directions @ directions.T / temperature).fill_diagonal_(-math.inf)
    others = torch.cat([torch.arange(count, 2 * count), torch.arange(count)]).to(projected.device)
    return F.cross_entropy(likeness, others)


class Net(nn.Module):
    """3×3 convolutions with batch normalisation, at any image size: images (B, C, H, W) to features (B, FEATURES).

    The last maps, about 8 pixels a side, go whole into a linear layer: what lies where is a part of how an image
    looks. Features are centred and scaled by the training images' views, and each image's have the length √FEATURES:
    some odd images, whose features are ten times as long, would else decide the cube of the kernel distance. (Of 500
    scenes against 500 others, its standard error is then 0.014 instead of 0.16.)
    """

    def __init__(self, image: ImageShape):
        super().__init__()
        self.square = math.ceil(max(image.height, image.width) / SEEN_AT)
        size = [math.ceil(side / self.square) for side in (image.height, image.width)]
        halvings = max(1, round(math.log2(max(1, min(size) / 8))))
        channels = [WIDTH * 2 ** min(level, 2) for level in range(halvings + 1)]
        layers: list[nn.Module] = []
        for level, (inputs, outputs) in enumerate(itertools.pairwise([image.channels, *channels])):
            # Of larger images the first layer makes maps of half the size already.
            stride = 2 if level or max(size) > MAPS else 1
            if level and max(size) <= 4:
                stride = 1
            size = [math.ceil(side / stride) for side in size]
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        last = nn.Linear(channels[-1] * size[0] * size[1], FEATURES, bias=False)
        self.layers = nn.Sequential(*layers, nn.Flatten(), last, nn.BatchNorm1d(FEATURES), nn.ReLU())
        self.scale = nn.BatchNorm1d(FEATURES, affine=False)
        self.projection = nn.Sequential(
            nn.Linear(FEATURES, 2 * PROJECTED, bias=False),
            nn.BatchNorm1d(2 * PROJECTED),
            nn.ReLU(),
            nn.Linear(2 * PROJECTED, PROJECTED),
        )

    def features(self, images: Tensor) -> Tensor:
        return F.normalize(self.scaled(images), dim=1) * math.sqrt(FEATURES)

    def scaled(self, images: Tensor) -> Tensor:
        if self.square > 1:
            images = F.avg_pool2d(images, self.square, ceil_mode=True)
        return self.scale(self.layers(images))

    def projected(self, images: Tensor) -> Tensor:
        """What the loss sees: (B, PROJECTED)."""
        return self.projection(self.scaled(images))


# ---------------------------------------------------------------------------------------------------------------------
# Views
# ---------------------------------------------------------------------------------------------------------------------


def view(images: Tensor) -> Tensor:
    """Each image (N, C, H, W) in [0, 1] as it might also look. What is drawn, is drawn on the CPU."""
    return hidden(recoloured(moved(images)))


def moved(images: Tensor) -> Tensor:
    """Moved by up to MOVED of a side, with what is missing mirrored at the border; half of them turned over."""
    count, _, height, width = images.shape
    rows, columns = (places(count, side) for side in (height, width))
    columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    which = torch.arange(count)[:, None, None]
    rows, columns, which = (each.to(images.device) for each in (rows[:, :, None], columns[:, None, :], which))
    return images[which, :, rows, columns].permute(0, 3, 1, 2)


def places(count: int, side: int) -> Tensor:
    """Where the pixels along a side of `count` moved images come from: int64 (count, side)."""
    most = int(side * MOVED)
    place = torch.arange(side) + torch.randint(-most, most + 1, (count, 1))
    place = place.abs()
    return torch.where(place >= side, 2 * (side - 1) - place, place).clamp(0, side - 1)


def recoloured(images: Tensor) -> Tensor:
    """Brighter or darker, with more or less contrast; of colour, also with other colours, or with none."""
    count, channels = images.shape[:2]

    def factor(most: float, width: int = 1) -> Tensor:
        return (1 + (torch.rand(count, width, 1, 1) * 2 - 1) * most).to(images.device)

    images = images * factor(BRIGHTNESS)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * factor(CONTRAST)
    if channels > 1:
        grey = images.mean(1, keepdim=True)
        images = (grey + (images - grey) * factor(SATURATION)) * factor(HUE, channels)
        greyed = (torch.rand(count, 1, 1, 1) < GREY).to(images.device)
        images = torch.where(greyed, images.mean(1, keepdim=True), images)
    return images.clamp(0, 1)


def hidden(images: Tensor) -> Tensor:
    """With a rectangle of HIDDEN of each side, anywhere and perhaps in part outside, in the image's mean colour."""
    count, _, height, width = images.shape
    covers = [
        (torch.arange(side) - torch.randint(side, (count, 1))).abs() < side * HIDDEN / 2 for side in (height, width)
    ]
    covered = (covers[0][:, :, None] & covers[1][:, None, :])[:, None].to(images.device)
    return torch.where(covered, images.mean((2, 3), keepdim=True), images)
