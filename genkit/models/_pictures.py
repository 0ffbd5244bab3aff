"""What models with an encoder and a decoder suggest for images that aren't digits: `Model.defaults_for`."""

from __future__ import annotations

from typing import Any

from genkit.contract import Facts, ImageShape, Resolved, defaults
from genkit.nets.residual import levels_for
from genkit.wording import counted

#: The longer side up to which what is nearly two-valued is taken for a digit or a letter.
DIGIT = 32
#: Sets of fewer images are fitted to mirror images, too.
FLIPPED_BELOW = 20_000
#: Numbers in a code: one for so many images, but so many at least, and at most, and not more than one for so many
#: numbers of an image.
IMAGES_A_NUMBER, FEWEST, MOST, NUMBERS_A_NUMBER = 8, 8, 128, 8
#: Images a step, and steps, of residual nets: ten minutes of two cores for images of 32×32 in colour, five for few of
#: 64×64.
BATCH, FEWEST_STEPS, MOST_STEPS = 64, 4_000, 20_000
BATCH_OF_FEW, STEPS_OF_FEW = 32, 2_500
#: Of residual nets: channels of the first level at 32×32, fewer of larger images, and the learning rate.
WIDTH, LEAST_WIDTH, LR = 32, 8, 2e-3


def digits(images: Facts) -> bool:
    """Whether these are what models are set up for by their classes: small and grey, and hardly anything between."""
    return images.two_valued and not images.in_colour and max(images.shape.height, images.shape.width) <= DIGIT


def for_digits(options: Any, images: Facts, fewest: int = defaults.FEWEST_STEPS) -> dict[str, Resolved]:
    """Of digits, how long they are trained on; few begin at PCA, which so few don't teach a net by themselves."""
    found = dict(defaults.training(options, images, fewest))
    if images.few:
        found["shortcut"] = Resolved("linear", f"{counted(images.count, 'training image')}: no worse than PCA, then")
    return found


def latent_dim_for(images: Facts) -> int:
    """Numbers in a code: more for more images, of which a few don't say what is typical of a direction."""
    most = min(MOST, images.shape.numbers // NUMBERS_A_NUMBER)
    return max(1, min(most, max(FEWEST, round(images.count / IMAGES_A_NUMBER / 8) * 8)))


def width_for(image: ImageShape) -> int:
    """Channels of residual nets' first level, so that a step takes about as long for large images as for small."""
    return max(LEAST_WIDTH, round(WIDTH * 32 / max(32, image.height, image.width) / 8) * 8)


def suggested(options: Any, images: Facts) -> dict[str, Resolved]:
    """Net, code, shortcut and training for images that aren't digits; only fields that the model's options have."""
    given, fields = options.model_fields_set, type(options).model_fields
    what = f"{'images in colour' if images.in_colour else 'grey images'} of {images.shape}"
    how_many = counted(images.count, "training image")
    found = {
        "shortcut": Resolved("linear", "no worse than PCA, then"),
        "latent_dim": Resolved(latent_dim_for(images), f"{how_many} of {images.shape}"),
    }
    told = getattr(options, "condition", "none") == "attributes"  # of which one may be a side
    if images.count < FLIPPED_BELOW and not images.two_valued and not told:
        found["flips"] = Resolved(True, f"{how_many}, neither drawings nor writing by their greys")
    net = getattr(options, "net", "mlp")
    if "net" in fields and not given & {"net", "hidden"}:
        net = "residual"
        found["net"] = Resolved(net, what)
    if net != "residual":
        return {**found, **defaults.training(options, images, FEWEST_STEPS)}
    most, steps = (BATCH_OF_FEW, STEPS_OF_FEW) if images.few else (BATCH, FEWEST_STEPS)
    batch = options.batch_size if "batch_size" in given else defaults.batch_size_for(images.count, most)
    found |= {
        "width": Resolved(width_for(images.shape), f"residual nets for images of {images.shape}"),
        "lr": Resolved(LR, f"residual nets of {levels_for(images.shape)} levels"),
        "activation": Resolved("silu", "residual nets"),
        "beta2": Resolved(0.99, "residual nets"),
        "batch_size": Resolved(batch, f"residual nets, {how_many}"),
    }
    return {**found, **defaults.budget(options, images, steps, MOST_STEPS, batch)}
