"""What new codes are drawn by: a model's own prior, fitted before each checkpoint, and what is fitted at the end.

`PriorFit` fits the prior of a model whose training gives it none, at each checkpoint, for it takes no time. `fitted`
is for the one checkpoint that a run opens with: a density of the codes of its training images, of each class where
there are labels, and as fine as held-out codes speak for.
"""

from __future__ import annotations

import logging
import time
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from genkit import device, registry
from genkit.contract import Model, ability
from genkit.contract.defaults import Resolved
from genkit.data.batches import in_order
from genkit.data.dataset import Dataset, Split
from genkit.errors import UsageError
from genkit.keep.config import Config, RunOptions
from genkit.nets.priors import LEAST, CodePrior, fitted_flow, fitted_mixture
from genkit.step.passes import encode_split, evaluation_batch
from genkit.wording import counted

logger = logging.getLogger("genkit")

Kind = Literal["own", "gaussian", "gmm", "flow"]

#: Training images that a model's own prior is fitted to.
IMAGES = 10_000
#: Training images, and validation images, whose codes a prior is fitted to and chosen by; and numbers of their codes.
FITTED, CHOSEN_BY, NUMBERS = 60_000, 10_000, 1 << 25
#: Gaussians of a mixture that are tried: of each class, or of all together.
OF_A_CLASS, OF_ALL = (1, 3, 10, 30, 60), (1, 3, 10, 30, 100, 300)
#: Codes × Gaussians of a class × squared numbers of a code that a fit may take, some seconds: of more codes some are
#: left out, and where `LEAST` for each Gaussian don't remain, so many aren't tried.
PRODUCTS = 1 << 30
#: Held-out codes by which the number is chosen, at least; where there are fewer, every fifth training code is held out.
HELD_OUT = 100
#: Images of a class, on average, without which codes aren't told by class.
IN_A_CLASS = 10
#: Codes that are drawn to see whether they repeat the training images, and how near they may come: their distance to
#: the nearest of them, over that of held-out codes.
WATCHED, TOO_NEAR = 1000, 0.6


class PriorFit:
    """Fits a model's own prior to training images, once a step.

    Args:
        train: the training images.
        where: the model's device.
        seed: of what the fit draws.
        beside: training images of the second set, where there is one.
    """

    def __init__(self, train: Split, where: torch.device, seed: int, beside: Split | None = None):
        self.train, self.where, self.seed, self.beside = train, where, seed, beside
        self.fitted_at: int | None = None

    @torch.no_grad()
    def fit(self, model: Model, step: int) -> None:
        """Fit the prior, where there is one, to the model as it is after this step."""
        model.eval()
        if not ability.generates(model) or self.fitted_at == step:
            return
        self.fitted_at = step
        chosen = self.train.take(self.train.spread(IMAGES))
        # A checkpoint more or less must not change what training draws next.
        with device.seeded(self.seed, self.where):
            model.fit_prior(in_order(chosen, evaluation_batch(model.image), self.where, self.beside))


class Codes(NamedTuple):
    """Codes (N, latent_dim) on the CPU, and their classes, int64 (N,), where these are known."""

    codes: Tensor
    labels: Tensor | None

    def take(self, rows: Tensor) -> Codes:
        return Codes(self.codes[rows], None if self.labels is None else self.labels[rows])


def prior_for(kind: type[Model], options: RunOptions) -> dict[str, Resolved]:
    """What new codes of a run's model are to be drawn by, where nobody says it and there is something to fit."""
    if options.prior is not None or not ability.takes_prior(kind):
        return {}
    return {"prior": Resolved("gmm", "samples are far nearer to images than by the model's own prior")}


def require_encoder(config: Config) -> None:
    """Refuse a prior to be fitted to the codes of a model that has none to fit one to.

    Raises:
        UsageError
    """
    kind, model = config.run.prior, registry.find(config.model)
    if kind in ("gaussian", "gmm", "flow") and not ability.takes_prior(model):
        raise UsageError(f"--prior {kind}: {config.model} {ability.without_prior(model)}; leave it out")


@torch.no_grad()
def fitted(model: Model, dataset: Dataset, where: torch.device, seed: int, kind: Kind) -> CodePrior | None:
    """What codes of the training images are like, as a prior of this kind; says what it is.

    The same for the same model, images and seed. Nothing of the model is changed, nor any random generator.

    Args:
        model: in evaluation mode, on the device `where`.
        kind: "own" fits nothing.

    Returns:
        None where nothing is to be fitted, or can be: of a model without an encoder, of codes that are `unfit`.
    """
    if kind == "own" or not ability.takes_prior(model):
        return None
    began = time.monotonic()
    most = max(2, NUMBERS // model.options.latent_dim)  # type: ignore[attr-defined]
    train = codes_of(model, dataset.train.take(dataset.train.spread(min(FITTED, most))), where)
    held = codes_of(model, dataset.val.take(dataset.val.spread(min(CHOSEN_BY, most))), where)
    classes = known_classes(model, dataset)
    if not classes:
        train, held = train._replace(labels=None), held._replace(labels=None)
    if (why := unfit(train, held)) is not None:
        logger.warning("prior    none is fitted to the codes: %s", why)
        return None
    prior = fit_kind(kind, train, held, classes, seed)
    ratio = nearness(prior, train, held, seed)
    fields = f"{counted(len(train.codes), 'code')} in {time.monotonic() - began:.1f} s"
    logger.info("prior    %s, fitted to %s (--prior own keeps the model's)", prior.in_words(), fields)
    if ratio is not None and ratio < TOO_NEAR:
        logger.warning(
            "the fitted prior repeats its training images: what it draws lies at %.2f of the distance from them that "
            "held-out images have; more images help, or --prior gaussian",
            ratio,
        )
    return prior


def unfit(train: Codes, held: Codes) -> str | None:
    """Why nothing can be fitted to codes; None where something can."""
    if len(train.codes) < 2:
        return f"there {'is only one' if len(train.codes) else 'is none'}"
    if not bool(torch.cat([train.codes, held.codes]).isfinite().all()):
        return "some aren't finite numbers"
    # Their sum, by which they are centred, has to be a number, too.
    if float(train.codes.abs().max()) * len(train.codes) > torch.finfo(torch.float32).max:
        return "they are too large"
    return None


def known_classes(model: Model, dataset: Dataset) -> int:
    """How many classes there are, where codes are to be told by class; else 0.

    They aren't where images have none, or too few of each; nor of a decoder that is told something else, which another
    class would contradict.
    """
    classes = len(dataset.classes)
    labelled = dataset.train.labels is not None and dataset.val.labels is not None and classes >= 2
    if model.condition is not None:
        return classes if labelled and model.condition.kind == "class" else 0
    return classes if labelled and len(dataset.train) >= IN_A_CLASS * classes else 0


def codes_of(model: Model, split: Split, where: torch.device) -> Codes:
    """Codes of images, as the encoder has them: of a distribution over codes (a VAE's) its mean.

    What a VAE's decoder makes of the mean is what it makes of a real image; and means of classes overlap less.
    """
    return Codes(encode_split(model, split, where).float(), split.labels)


def fit_kind(kind: Kind, train: Codes, held: Codes, classes: int, seed: int) -> CodePrior:
    """A prior of this kind of the training codes, chosen by held-out ones."""
    if kind == "gaussian":
        return fitted_mixture(train.codes, 1, train.labels, classes, seed)
    part, apart = (train, held) if len(held.codes) >= HELD_OUT else divided(train, held)
    apart = of_classes_in(part, apart)
    if kind == "flow":
        return fitted_flow(part.codes, apart.codes, part.labels, apart.labels, classes, seed)
    best, chosen, highest = None, 1, -float("inf")
    for components in OF_A_CLASS if classes else OF_ALL:
        some = affordable(part, components)
        if components > 1 and len(some.codes) < LEAST * components * max(1, classes):
            break
        tried = fitted_mixture(some.codes, components, some.labels, classes, seed)
        reached = float(tried.log_density(apart.codes, apart.labels).double().mean())
        if not reached > highest:
            break
        best, chosen, highest = tried, components, reached
    if best is None or part is not train:
        some = affordable(train, chosen)
        return fitted_mixture(some.codes, chosen, some.labels, classes, seed)
    return best


def of_classes_in(fitted: Codes, held: Codes) -> Codes:
    """The held-out codes without those of classes that none of the fitted ones has.

    Such a code has no likelihood, whatever is fitted, and would hide all that the others say. Where none is left, the
    fitted codes themselves.
    """
    if fitted.labels is None or held.labels is None:
        return held
    found = held.take(torch.isin(held.labels, fitted.labels))
    return found if len(found.codes) else fitted


def divided(train: Codes, held: Codes) -> tuple[Codes, Codes]:
    """Where there are few held-out codes: the training codes without every fifth of each class, and those with the
    held-out ones."""
    places = torch.arange(len(train.codes))
    if train.labels is not None:
        order = train.labels.argsort(stable=True)
        counts = torch.bincount(train.labels)
        places[order] = places - (counts.cumsum(0) - counts).repeat_interleave(counts)
    fifth = places % 5 == 4
    if not bool(fifth.any()):
        return train, held if len(held.codes) else train
    kept, apart = train.take(~fifth), train.take(fifth)
    labels = None if apart.labels is None or held.labels is None else torch.cat([apart.labels, held.labels])
    return kept, Codes(torch.cat([apart.codes, held.codes]), labels)


def affordable(train: Codes, components: int) -> Codes:
    """Codes that so many Gaussians can be fitted to in some seconds, evenly spaced; of each class one at least."""
    count, dim = train.codes.shape
    most = max(1, PRODUCTS // (components * dim * dim))
    if components == 1 or count <= most:
        return train
    rows = torch.linspace(0, count - 1, most, dtype=torch.float64).round().long()
    if train.labels is not None:
        lacking = ~torch.isin(train.labels, train.labels[rows])
        first = [(train.labels == each).nonzero()[0] for each in train.labels[lacking].unique()]
        rows = torch.cat([rows, *first]).sort().values
    return train.take(rows)


def nearness(prior: CodePrior, train: Codes, held: Codes, seed: int) -> float | None:
    """How near drawn codes come to those of the training images, over how near held-out ones do: medians of distances.

    About 1 for a prior that has learned what codes are like, 0 for one that gives them again. None where there are
    too few held-out ones to say.
    """
    if len(held.codes) < HELD_OUT // 10:
        return None
    generator = torch.Generator().manual_seed(seed % 2**63)
    noise = torch.randn(min(WATCHED, max(HELD_OUT, len(train.codes))), train.codes.shape[1], generator=generator)
    spread = train.codes.std(0, unbiased=False).clamp(min=1e-12)
    known = train.codes[:: max(1, len(train.codes) // (10 * WATCHED))]
    medians = []
    for codes in (prior(noise), held.codes[:WATCHED]):
        medians.append(float(torch.cdist(codes / spread, known / spread).min(1).values.median()))
    return medians[0] / medians[1] if medians[1] > 0 else None
