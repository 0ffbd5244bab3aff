"""Domain adaptation: a classifier's encoder, brought to a second set of images without looking at its labels.

After Tzeng, Hoffman, Saenko and Darrell, "Adversarial discriminative domain adaptation" (CVPR 2017): a classifier of
the first set (`--init-from`) stays as it is; an encoder that begins as its copy learns to make features of the second
set (`--beside`) that a discriminator can't tell from the classifier's features of the first. Its last layer then
tells the second set's classes, too. `--method dann` is its forerunner, Ganin et al., "Domain-adversarial training
of neural networks" (JMLR 2016): one encoder for both sets, which goes on learning the first one's classes meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genkit import contract, nets, registry
from genkit.contract import Batch, Facts, Fault, ImageShape, Model, Phase, Resolved, defaults
from genkit.contract.images import TrainingImages
from genkit.errors import UsageError
from genkit.models.classifier import Classifier

#: Steps of a run where nobody says how long to train.
FEWEST_STEPS, MOST_STEPS = 2_000, 10_000
#: A discriminator that tells this share of the features apart leaves the encoder next to no gradient.
SATURATED = 0.99
#: Answers of fewer classes than this share of all, and errors by so much more than before, are faults.
COLLAPSED, WORSE = 0.5, 0.02
#: How fast DANN's encoder comes to hear the discriminator (Ganin et al., section 5.2.2).
GAIN = 10.0

NEEDS_CLASSIFIER = "adda begins with a classifier of the first set: name its run with --init-from RUN"


class Adda(Model):
    class Options(contract.TrainingOptions):
        lr: contract.LearningRate = 2e-4
        beta1: contract.Beta1 = 0.5
        method: Annotated[
            Literal["adda", "dann"],
            Field(
                description="adda: an encoder of its own for the second set, the first one's frozen; dann: one for "
                "both, which also learns the first one's classes."
            ),
        ] = "adda"
        discriminator: Annotated[nets.Widths, Field(description="Units of the discriminator's hidden layers.")] = (
            500,
            500,
        )
        discriminator_lr: Annotated[
            float | None,
            Field(gt=0, le=10, description="Its learning rate.", json_schema_extra={"none": "as --lr"}),
        ] = None
        strength: Annotated[
            float,
            Field(ge=0, le=1000, description="Of --method dann: weight of the discriminator in the encoder's loss."),
        ] = 1.0
        source: Annotated[
            Classifier.Options | None, contract.filled_in("The classifier that it begins with, as its run has it.")
        ] = None

        @property
        def classes(self) -> int:
            """How many classes are told."""
            return 0 if self.source is None else self.source.classes

        @property
        def attributes(self) -> dict[str, int]:
            """It tells none."""
            return {}

    needs_beside = True
    # No label of the second set may choose a checkpoint; and that the domains are alike says little of the classes.
    monitor = "discriminator/accuracy"
    opens = "last"

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        if options.source is None:
            raise UsageError(NEEDS_CLASSIFIER)
        self.source = Classifier(image, options.source).eval()
        self.target = Classifier(image, options.source)
        self.discriminator = nets.mlp([self.source.head.in_features, *options.discriminator, 1], "relu")

    # -- what the images and the classifier say ------------------------------------------------------------------------

    @classmethod
    def defaults_for(cls, options: Any, images: Facts) -> Mapping[str, Resolved]:
        return defaults.training(options, images, FEWEST_STEPS, MOST_STEPS)

    @classmethod
    def options_for(cls, options: Any, dataset: TrainingImages) -> Any:
        if options.source is None:
            raise UsageError(NEEDS_CLASSIFIER)
        beside, labelled = dataset.beside, dataset.train.labels is not None
        if labelled and len(dataset.classes) != options.classes:
            raise UsageError(
                f"--init-from: the classifier tells {options.classes} classes, and {dataset.name} has "
                f"{len(dataset.classes)}; give the set that it was trained on"
            )
        if options.method == "dann" and not labelled:
            raise UsageError(f"--method dann learns the classes of {dataset.name}, which has none; leave it out")
        if labelled and beside is not None and beside.classes and beside.classes != dataset.classes:
            raise UsageError(
                f"--beside: the classes of {beside.name} ({listed(beside.classes)}) aren't those of {dataset.name} "
                f"({listed(dataset.classes)}), to which it would be adapted; give images of the same"
            )
        return options

    @classmethod
    def options_from(cls, source: Model) -> dict[str, Any] | None:
        if isinstance(source, cls):
            return super().options_from(source)
        if not isinstance(source, Classifier):
            kind = registry.name_of(type(source))
            raise UsageError(
                f"--init-from: this is a run of {kind}, and adda begins with one of classifier, on the first set"
            )
        if not source.options.classes:
            raise UsageError("--init-from: this classifier tells attributes, and adda begins with one of classes")
        return {"source": source.options.model_dump(mode="json")}

    def weights_from(self, source: Model) -> Mapping[str, Tensor]:
        if isinstance(source, Adda):
            return super().weights_from(source)
        return {f"{part}.{name}": each for part in ("source", "target") for name, each in source.state_dict().items()}

    # -- training ------------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Adda:
        """The classifier of the first set stays in evaluation mode, or its batch statistics would move."""
        super().train(mode)
        if hasattr(self, "source"):
            self.source.eval()
        return self

    def phases(self) -> list[Phase]:
        optimizer = self.options.optimizer()
        against = {**optimizer, "lr": self.options.discriminator_lr or self.options.lr}
        module, losses = (self.target.body, self.encoder_losses)
        if self.options.method == "dann":
            module, losses = self.target, self.dann_losses
        return [
            Phase("encoder", module, losses, optimizer),
            Phase("discriminator", self.discriminator, self.discriminator_losses, against),
        ]

    def encoder_losses(self, batch: Batch) -> dict[str, Tensor]:
        """−ln of the discriminator's belief that features of the second set are of the first: ln 2 where it can't tell.

        The features are handed to the discriminator's phase, which sees them as they were before the step.
        """
        assert batch.beside is not None
        features = self.target.features(batch.beside)
        loss = F.softplus(-self.judged(features)).mean()
        return {"loss": loss, **self.measured(batch, features), "target_features": features}

    def dann_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The cross-entropy of the first set's classes, less the discriminator's loss, by `strength` and a ramp.

        To take it away is to turn its gradient round, as the paper's layer does, which has the discriminator learn from
        the same pass; here that has a phase of its own.
        """
        assert batch.beside is not None
        assert batch.labels is not None
        # Both in one pass: batch normalisation then sees in training what its running means are of.
        first, second = self.target.features(torch.cat([batch.images, batch.beside])).chunk(2)
        told = F.cross_entropy(self.target.head(first).to(batch.images.dtype), batch.labels)
        against = domain_loss(self.judged(first), self.judged(second))
        loss = told - self.weight_at(batch.epoch) * against
        handed_on = {"source_features": first, "target_features": second}
        return {"loss": loss, "cross_entropy": told, **self.measured(batch, second), **handed_on}

    def weight_at(self, epoch: Tensor) -> Tensor:
        """λ of Ganin et al., from 0 to `strength` over the run."""
        passed = (epoch / (self.options.passes or self.options.epochs)).clamp(max=1)
        return self.options.strength * (2 / (1 + torch.exp(-GAIN * passed)) - 1)

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The cross-entropy of both sets, 2 ln 2 where they can't be told apart; and the share that is told rightly."""
        first = batch.earlier.get("source_features")
        if first is None:
            with torch.no_grad():
                first = self.source.features(batch.images)
        on_first, on_second = self.judged(first), self.judged(batch.earlier["target_features"])
        right = [(each > 0).to(batch.images.dtype).mean() for each in (on_first, -on_second)]
        return {"loss": domain_loss(on_first, on_second), "accuracy": (right[0] + right[1]) / 2}

    def judged(self, features: Tensor) -> Tensor:
        """The discriminator's logits (B,) that features (B, F) are of the first set."""
        return self.discriminator(features)[:, 0].float()

    def measured(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """In evaluation, of the second set: how many classes answers are of, and, of labelled images, errors.

        `error_before` is what the classifier that it begins with gets wrong. In training no label is looked at.
        """
        if self.training:
            return {}
        dtype = batch.images.dtype
        odds = self.target.head(features).to(dtype).softmax(1)
        found = {"classes_told": torch.special.entr(odds.mean(0)).sum().exp()}
        if batch.beside_labels is not None and batch.beside is not None:
            before = self.source(batch.beside).argmax(1)
            found["error"] = (odds.argmax(1) != batch.beside_labels).to(dtype).mean()
            found["error_before"] = (before != batch.beside_labels).to(dtype).mean()
        return found

    def watch(self, history: Sequence[Mapping[str, float]]) -> Mapping[str, Fault]:
        """A discriminator that is never fooled teaches nothing, and answers of few classes are a collapse.

        That features are alike doesn't say that the classes are where they belong: an adaptation that does harm, only
        labels of the second set can tell, where it has any.
        """
        last, options, found = history[-1], self.options, {}
        lower = f"a lower --lr (it is {options.lr:g})"
        accuracy = last["discriminator/accuracy"]
        if accuracy > SATURATED:
            slower = options.discriminator_lr or options.lr
            found["saturated discriminator"] = Fault(
                f"it tells {accuracy:.1%} of the features' sets, which leaves the encoder no gradient",
                [f"a lower --discriminator-lr (it is {slower:g})", "a smaller --discriminator"],
            )
        if last["encoder/classes_told"] < COLLAPSED * options.classes:
            found["class collapse"] = Fault(
                f"what is said of the second set's images is of {last['encoder/classes_told']:.1f} classes, as if they "
                f"were equally frequent, of {options.classes}",
                [lower, "fewer --epochs"],
            )
        error, before = last.get("encoder/error", 0.0), last.get("encoder/error_before", 1.0)
        if error > before + WORSE:
            found["negative transfer"] = Fault(
                f"{error:.1%} of the second set's labelled images are told wrongly, and were {before:.1%} before; "
                "without labels nobody would know",
                [lower, "fewer --epochs"],
            )
        return found

    # -- what it has learned -------------------------------------------------------------------------------------------

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images of the second set."""
        return self.target(images)

    def probabilities(self, images: Tensor) -> Tensor:
        """Of each class, (B, classes), of images of the second set."""
        return self.target.probabilities(images)

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees of images of the second set: (B, F)."""
        return self.target.features(images)

    def first_features(self, images: Tensor) -> Tensor:
        """The same of images of the first set, among which those of the second are to be lost: (B, F)."""
        return (self.target if self.options.method == "dann" else self.source).features(images)

    def before(self) -> Model:
        """The classifier that it began with."""
        return self.source

    def keep_features(self) -> None:
        del self.source, self.discriminator
        self.target.keep_features()


def domain_loss(on_first: Tensor, on_second: Tensor) -> Tensor:
    """The cross-entropy, summed over the two sets' means, of logits that images are of the first set."""
    return F.softplus(-on_first).mean() + F.softplus(on_second).mean()


def listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most])[:80] + (", …" if len(names) > most else "")
