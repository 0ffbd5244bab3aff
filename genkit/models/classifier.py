"""Classifier of labelled images, or of their attributes; from random weights, or on another run's encoder.

A small convolutional net by default, or one of those of Zhang et al. (ICLR 2017). With `--init-from RUN` of another
model, that model's features (an autoencoder's code, a VAE's posterior mean, a DCGAN's discriminator) carry a linear
layer, and both are trained on; of a classifier of other classes, all but its last layer is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from genkit import contract, nets, registry
from genkit.contract import Batch, ImageShape, Model, Phase
from genkit.contract.images import TrainingImages
from genkit.contract.weightless import without_memory
from genkit.errors import DataError, ModelError, UsageError
from genkit.nets import small

#: The target that stands for all attributes.
ALL_ATTRIBUTES = "attributes"
#: Where nobody says how long to train; a hundred labels make a single step an epoch. With ten of each of mnist5k's
#: digits, 89 % of the test images are wrong after 4 steps and after 25, 25 % after 50 and 20 % after 100.
EPOCHS, FEWEST_STEPS = 4, 100
#: Of SGD, and what else it takes where nobody says another: as Zhang et al. train their small nets.
MOMENTUM, SGD = 0.9, {"lr": 0.01, "weight_decay": 0.0}


class Body(BaseModel):
    """Another model whose features the classes are told by, with all that its architecture needs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    options: dict[str, Any]
    features: Annotated[int, Field(ge=1, le=2**31)]
    provider: registry.Provider | None = None

    @model_validator(mode="after")
    def _can_be_built(self) -> Body:
        """A checkpoint's or a configuration's may have been written by anybody."""
        try:
            kind = registry.find_again(self.model, self.provider)
        except ModelError:
            raise
        except UsageError:
            kind = Classifier
        if kind is Classifier:
            raise ValueError(f"{ascii(self.model)[:80]} is no model whose features could carry a classifier")
        kind.Options.model_validate(self.options)
        return self


class Classifier(Model):
    class Options(contract.TrainingOptions):
        epochs: Annotated[
            contract.Epochs, Field(json_schema_extra={"default": f"{EPOCHS}, or as many as make {FEWEST_STEPS} steps"})
        ] = EPOCHS
        optimizer_kind: Annotated[
            Literal["adamw", "sgd"],
            Field(
                description=f"What moves the weights: AdamW, or stochastic gradient descent with momentum {MOMENTUM}.",
                json_schema_extra={"also": "optimizer"},
            ),
        ] = "adamw"
        lr: Annotated[contract.LearningRate, Field(json_schema_extra={"default": f"0.003, of sgd {SGD['lr']}"})] = 3e-3
        weight_decay: Annotated[
            contract.WeightDecay,
            Field(
                description="Weight decay: decoupled, as in AdamW; of sgd added to the gradient, as the square of the "
                "weights' norm is to the loss.",
                json_schema_extra={"default": "0.05, of sgd 0"},
            ),
        ] = 0.05
        net: Annotated[
            Literal["conv", "mlp", "alexnet-small", "inception-small"],
            Field(
                description="The net of its own: convolutions with batch normalisation, made for few epochs; or one "
                "of Zhang et al. (2017), which have no regulariser built in: linear layers of --hidden units, "
                "their small AlexNet or their small Inception (for a GPU)."
            ),
        ] = "conv"
        hidden: Annotated[nets.Widths, Field(description="Of --net mlp: units of its hidden layers, or `none`.")] = (
            512,
        )
        width: Annotated[nets.ConvWidth, Field(description=f"Of --net conv. {nets.CONV_WIDTH_HELP}")] = 32
        seen_at: Annotated[
            int | None,
            Field(
                ge=8,
                le=1024,
                description="Of --net conv: average larger images down to at most this many pixels a side, by "
                "a whole number; four times as fast at half the size.",
                json_schema_extra={"none": "as they are"},
            ),
        ] = None
        bottleneck: Annotated[
            int | None,
            Field(
                ge=1,
                le=65536,
                description="Numbers that all it tells of an image must pass through, as its features.",
                json_schema_extra={"none": "no layer between"},
            ),
        ] = None
        target: Annotated[
            str | None,
            Field(
                min_length=1,
                description=f"The attribute to tell, or `{ALL_ATTRIBUTES}` for all of them.",
                json_schema_extra={"none": "the class; of images without classes, all attributes"},
            ),
        ] = None
        from_scratch: Annotated[
            bool,
            Field(
                description="With --init-from: take its architecture, and random weights.",
                json_schema_extra={"needs": "init_from"},
            ),
        ] = False
        classes: Annotated[int, contract.filled_in("How many classes there are; 0 where attributes are told.")] = 0
        attributes: Annotated[
            dict[str, int], contract.filled_in("The attributes that are told, each with its column in the data.")
        ] = Field(default_factory=dict)
        body: Annotated[Body | None, contract.filled_in("The model whose features carry the last layer.")] = None
        by_heart: Annotated[
            bool,
            contract.filled_in("Whether labels or pixels are random, so that only training images tell how far it is."),
        ] = False

        @model_validator(mode="before")
        @classmethod
        def _as_sgd_takes_it(cls, values: Any) -> Any:
            """What nobody has given is another thing where SGD moves the weights."""
            if isinstance(values, Mapping) and values.get("optimizer_kind") == "sgd":
                return {**SGD, **values}
            return values

        def optimizer(self) -> dict[str, Any]:
            if self.optimizer_kind == "adamw":
                return super().optimizer()
            return {"kind": "sgd", "lr": self.lr, "momentum": MOMENTUM, "weight_decay": self.weight_decay}

    monitor = "error"
    of_labels = ("head.",)

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        self.body: nets.ConvNet | small.SmallNet | Model
        if options.by_heart:
            self.monitor = "train_error"
        if options.body is None:
            self.body = own_net(image, options)
            features = self.body.outputs
        else:
            self.body, features = build_body(image, options.body), options.body.features
            self.body.keep_features()
        self.narrow: nn.Module = nn.Identity()
        if options.bottleneck is not None:
            self.narrow, features = nn.Linear(features, options.bottleneck), options.bottleneck
        self.head = nn.Linear(features, len(options.attributes) or options.classes)

    @classmethod
    def options_for(cls, options: Any, dataset: TrainingImages) -> Any:
        if "epochs" not in options.model_fields_set:
            steps = max(1, len(dataset.train) // options.batch_size)
            options = options.model_copy(update={"epochs": max(EPOCHS, math.ceil(FEWEST_STEPS / steps))})
        options = options.model_copy(update={"by_heart": dataset.randomised})
        if options.body is not None:
            # Its images may have been of another size, at which its features are fewer, or more. They are counted
            # without memory: whether there is enough is asked later.
            with without_memory():
                features = features_of(build_body(dataset.shape, options.body))
            options = options.model_copy(update={"body": options.body.model_copy(update={"features": features})})
        if options.target is None and dataset.train.labels is not None:
            if len(dataset.classes) < 2:
                raise DataError(f"{dataset.name}: all images are of the class {dataset.classes[0]}; give at least two")
            return options.model_copy(update={"classes": len(dataset.classes), "attributes": {}})
        columns = {name: column for column, name in enumerate(dataset.attributes)}
        if not columns and options.target is not None:
            have = f"it has the classes {', '.join(dataset.classes)[:200]}" if dataset.classes else "nor classes"
            raise UsageError(f"--target: {dataset.name} has no attributes ({have}); leave --target out")
        if not columns:
            raise DataError(f"{dataset.name} has no labels to learn; give a folder with a folder for each class")
        everything = options.target in (None, ALL_ATTRIBUTES)
        if not everything and options.target not in columns:
            there = ", ".join(columns)
            raise UsageError(f"--target: {dataset.name} has no attribute '{options.target}' (it has {there})")
        told = columns if everything else {options.target: columns[options.target]}
        return options.model_copy(update={"classes": 0, "attributes": told})

    @classmethod
    def options_from(cls, source: Model) -> dict[str, Any] | None:
        if isinstance(source, cls):
            # That the other began with random weights is nothing to this one.
            return {**(super().options_from(source) or {}), "from_scratch": False}
        if source.condition is not None:
            kind = registry.name_of(type(source))
            raise UsageError(f"--init-from: this {kind} is told the {source.condition.kind} that it would have to tell")
        features = features_of(source)
        own = source.options.model_dump(mode="json", exclude=set(contract.TRAINING_FIELDS))
        name = registry.name_of(type(source))
        provider = asdict(registry.provider_of(name))
        return {"body": {"model": name, "options": own, "features": features, "provider": provider}}

    def weights_from(self, source: Model) -> Mapping[str, Tensor]:
        if self.options.from_scratch:
            return {}
        if isinstance(source, Classifier):
            return super().weights_from(source)
        theirs = source.state_dict()
        # What the other doesn't have, as a layer more for larger images, fits nothing: no part of an encoder is random.
        return {f"body.{name}": theirs.get(name, torch.empty(0)) for name in self.body.state_dict()}

    def phases(self) -> list[Phase]:
        return [Phase("", self, self.losses, self.options.optimizer())]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The cross-entropy in nats and the share of wrong answers; of attributes, the means over them, and each's."""
        logits = self(batch.images).to(batch.images.dtype)
        if not self.options.attributes:
            assert batch.labels is not None
            loss = F.cross_entropy(logits, batch.labels)
            return {"loss": loss, "error": (logits.argmax(1) != batch.labels).to(loss.dtype).mean()}
        assert batch.attributes is not None
        wanted = torch.stack([batch.attributes[:, column] for column in self.options.attributes.values()], 1)
        loss = F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype))
        errors = ((logits > 0) != wanted).to(loss.dtype).mean(0)
        each = dict(zip((f"error_{name}" for name in self.options.attributes), errors, strict=True))
        return {"loss": loss, "error": errors.mean(), **(each if len(each) > 1 else {})}

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes or attributes)."""
        return self.head(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees: (B, F)."""
        return self.narrow(self.body.features(images))

    def keep_features(self) -> None:
        del self.head

    def probabilities(self, images: Tensor) -> Tensor:
        """Of each class, (B, classes); or of each attribute, (B, attributes)."""
        logits = self(images)
        return logits.sigmoid() if self.options.attributes else logits.softmax(1)


def own_net(image: ImageShape, options: Any) -> nets.ConvNet | small.SmallNet:
    """The net of its own, with random weights."""
    if options.net == "mlp":
        return small.Perceptron(image, options.hidden)
    if options.net == "alexnet-small":
        return small.SmallAlexNet(image)
    if options.net == "inception-small":
        return small.SmallInception(image)
    return nets.ConvNet(image, options.width, options.seen_at)


def build_body(image: ImageShape, body: Body) -> Model:
    """The model whose features carry the last layer, with random weights."""
    kind = registry.find(body.model)
    return kind(image, kind.Options.model_validate(body.options))


@torch.no_grad()
def features_of(body: Model) -> int:
    """How many features it has of an image."""
    return int(body.eval().features(torch.zeros(1, *body.image, device=next(body.parameters()).device)).shape[1])
