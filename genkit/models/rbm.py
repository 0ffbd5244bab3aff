"""Stack of restricted Boltzmann machines, trained one layer after the other by contrastive divergence.

After Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks" (Science, 2006), with the
settings of the authors' code: pixels are the odds of binary units, each machine learns the hidden units' odds of the
one below it, and the code's units are linear with noise N(0, 1). `genkit train ae --init-from RUN` unrolls the stack
into an autoencoder and trains that on.

With `--chains persistent` the model's samples come from chains that go on from step to step, after Tieleman, "Training
restricted Boltzmann machines using approximations to the likelihood gradient" (ICML 2008).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genkit import contract, nets
from genkit.contract import Batch, Facts, Fault, GenerativeModel, ImageShape, Phase, Resolved, defaults

#: Standard deviation of the first weights.
FIRST_WEIGHTS = 0.1
#: An error of the images that a machine gives back rises where it is so many times the least so far.
RISEN = 1.1
#: SplitMix64's step, 2⁶⁴ over the golden ratio, as a number with a sign.
GOLDEN = -7046029254386353131
#: A phase whose share of the run is smaller is none.
LEAST_SHARE = 1e-9


class Noise(NamedTuple):
    """Random numbers of a tensor's shape: even in [0, 1), and N(0, 1)."""

    uniform: Callable[[Tensor], Tensor]
    normal: Callable[[Tensor], Tensor]


#: By torch's default generator.
DRAWN = Noise(torch.rand_like, torch.randn_like)


def noise_of(codes: Tensor) -> Noise:
    """Random numbers of which each row is a function of that row of `codes` (B, D) alone: of its float32 numbers."""
    rows = codes.detach().float().cpu().contiguous()
    seeds = [hashlib.blake2b(row.numpy().tobytes(), digest_size=8).digest() for row in rows]
    generators = [torch.Generator().manual_seed(int.from_bytes(each, "big") >> 1) for each in seeds]

    def by(draw: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda like: torch.stack([draw(like.shape[1:], generator=each) for each in generators]).to(like)

    return Noise(by(torch.rand), by(torch.randn))


def noise_by(key: Tensor) -> Noise:
    """Random numbers that are a function of a key, int64 (), and of how many draws came before, and nothing else.

    So chains that are alike in several processes stay alike, whatever else each draws. By SplitMix64, after Steele, Lea
    and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014), in 23 bits: never 0, and never 1.
    """
    draws = itertools.count()

    def uniform(like: Tensor) -> Tensor:
        stream = mixed((key + next(draws)) * GOLDEN)
        places = torch.arange(1, like.numel() + 1, device=key.device)
        bits = shifted(mixed(stream + places * GOLDEN), 41)
        return ((bits.to(like.dtype) + 0.5) / (1 << 23)).view(like.shape)

    return Noise(uniform, lambda like: torch.special.ndtri(uniform(like)))


def mixed(bits: Tensor) -> Tensor:
    """SplitMix64's function of 64 bits, in which half of them change where one does; products overflow on purpose."""
    bits = (bits ^ shifted(bits, 30)) * -4658895280553007687
    bits = (bits ^ shifted(bits, 27)) * -7723592293110705685
    return bits ^ shifted(bits, 31)


def shifted(bits: Tensor, by: int) -> Tensor:
    """To the right, with zeros on the left, whatever the sign is."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


class Machine(nn.Module):
    """One restricted Boltzmann machine: binary visible units v, hidden units h that are binary, or linear.

    Its energy is E(v, h) = −b·v − c·h − h·Wv, and of linear hidden units ½‖h‖² more, so that they are N(Wv + c, I).

    Args:
        visible, hidden: how many units there are.
        linear: whether the hidden ones are.
        chains: how many persistent chains there are, black at first; of none, each image begins its own.
        steps: of a chain, each of all hidden units and then all visible ones.
        decay: λ of the penalty ½λ‖W‖²; biases have none.
    """

    chains: Tensor
    key: Tensor

    def __init__(self, visible: int, hidden: int, linear: bool, chains: int = 0, steps: int = 1, decay: float = 0.0):
        super().__init__()
        self.linear, self.persistent, self.steps, self.decay = linear, chains > 0, steps, decay
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(hidden, visible), 0, FIRST_WEIGHTS))
        self.visible_bias, self.hidden_bias = nn.Parameter(torch.zeros(visible)), nn.Parameter(torch.zeros(hidden))
        if self.persistent:
            self.register_buffer("chains", torch.zeros(chains, visible))
            self.register_buffer("key", torch.randint(1 << 62, ()))

    def inputs(self, visible: Tensor) -> Tensor:
        """What hidden units are given by visible ones (B, visible), Wv + c: (B, hidden)."""
        return F.linear(visible, self.weight, self.hidden_bias).to(visible.dtype)

    def hidden_given(self, visible: Tensor) -> Tensor:
        """The odds of binary hidden units, or the means of linear ones: (B, hidden), of visible units (B, visible)."""
        inputs = self.inputs(visible)
        return inputs if self.linear else inputs.sigmoid()

    def visible_given(self, hidden: Tensor) -> Tensor:
        """The odds of the visible units (B, visible), of hidden ones (B, hidden)."""
        return F.linear(hidden, self.weight.T, self.visible_bias).to(hidden.dtype).sigmoid()

    def draw_hidden(self, visible: Tensor, noise: Noise = DRAWN) -> Tensor:
        """Hidden units (B, hidden) drawn given visible ones."""
        return self.drawn(self.inputs(visible), noise)

    def drawn(self, inputs: Tensor, noise: Noise = DRAWN) -> Tensor:
        """Hidden units drawn by their inputs, (B, hidden) both."""
        if self.linear:
            return inputs + noise.normal(inputs)
        odds = inputs.sigmoid()
        return (noise.uniform(odds) < odds).to(odds.dtype)

    def draw_visible(self, hidden: Tensor, noise: Noise = DRAWN) -> Tensor:
        """Visible units (B, visible), each 0 or 1, drawn given hidden ones."""
        odds = self.visible_given(hidden)
        return (noise.uniform(odds) < odds).to(odds.dtype)

    @torch.no_grad()
    def gibbs(self, visible: Tensor, steps: int, noise: Noise = DRAWN) -> Tensor:
        """Where chains from visible units (B, visible) come to: all hidden units are drawn, then all visible ones."""
        for _ in range(steps):
            visible = self.draw_visible(self.draw_hidden(visible, noise), noise)
        return visible

    def free_energy(self, visible: Tensor, inputs: Tensor | None = None) -> Tensor:
        """F(v) of visible units (B, visible), in nats: (B,). p(v) is exp(−F(v)), short of a constant factor.

        Args:
            inputs: of the hidden units, where they are there already.
        """
        inputs = self.inputs(visible) if inputs is None else inputs
        of_hidden = inputs.square().sum(1) / 2 if self.linear else F.softplus(inputs).sum(1)
        return -(visible * self.visible_bias).sum(1) - of_hidden

    def divergence(self, visible: Tensor, samples: Tensor, inputs: Tensor | None = None) -> Tensor:
        """What has the likelihood's gradient, with a minus: mean F of images less mean F of the model's own samples.

        Exactly so where the samples are the model's; those of a few steps from the images make it contrastive
        divergence. Both are (…, visible), without gradients of their own.
        """
        return self.free_energy(visible, inputs).mean() - self.free_energy(samples).mean()

    def losses(self, visible: Tensor) -> dict[str, Tensor]:
        """Of a batch (B, visible) in [0, 1]: the loss, and the squared error of one step, summed over units.

        As in the authors' code hidden units are drawn and visible ones are their odds, unless the chains are
        persistent, which are drawn whole: they are to be samples of the model. A validation leaves them where they are.
        """
        inputs = self.inputs(visible)
        with torch.no_grad():
            back = self.visible_given(self.drawn(inputs.detach()))
            error = (back - visible).square().sum(1).mean()
            if self.persistent:
                samples = self.gibbs(self.chains, self.steps, noise_by(self.key))
                if self.training:
                    self.chains.copy_(samples)
                    self.key.add_(2 * self.steps)  # draws that were made
            else:
                samples = back
                for _ in range(self.steps - 1):
                    samples = self.visible_given(self.draw_hidden(samples))
        loss = self.divergence(visible, samples, inputs)
        loss = loss + self.decay / 2 * torch.linalg.vector_norm(self.weight).square()
        return {"loss": loss, "error": error}


class RBM(GenerativeModel):
    class Options(contract.Options):
        latent_dim: contract.LatentDim = 30
        hidden: Annotated[
            nets.Widths,
            Field(
                description="Hidden units of the machines below the code's, from the images on: `512,256`, or `none`."
            ),
        ] = (1000, 500, 250)
        code: Annotated[
            Literal["linear", "binary"],
            Field(
                description="Units of the code: linear with noise N(0, 1), or binary as all others, which --lr is for."
            ),
        ] = "linear"
        chains: Annotated[
            Literal["data", "persistent"],
            Field(
                description="Where the chains of Gibbs sampling begin: at the batch, which is contrastive divergence, "
                "or where the last step left them, by which a model learns to make images and not only to give them "
                "back."
            ),
        ] = "data"
        cd_steps: Annotated[int, Field(ge=1, le=1000, description="Steps of a chain.")] = 1
        fantasies: Annotated[
            int, Field(ge=1, le=65536, description="With --chains persistent: how many chains each machine has.")
        ] = 100
        momentum: Annotated[float, Field(ge=0, lt=1, description="Of the gradient descent.")] = 0.9
        initial_momentum: Annotated[
            float, Field(ge=0, lt=1, description="The same in the first --initial-epochs of a machine.")
        ] = 0.5
        initial_epochs: Annotated[
            float, Field(ge=0, le=100_000, description="Epochs of each machine's time with --initial-momentum.")
        ] = 5.0
        epochs: Annotated[
            contract.Epochs, Field(description="Passes over the training images, of all machines together.")
        ] = 40
        batch_size: contract.BatchSize = 100
        lr: contract.LearningRate = 0.1
        code_lr: Annotated[
            contract.LearningRate, Field(description="Learning rate of a machine with linear hidden units.")
        ] = 1e-3
        weight_decay: Annotated[
            contract.WeightDecay, Field(description="λ of the penalty ½λ‖W‖² of a machine's weights, biases left out.")
        ] = 2e-4
        schedule: contract.Schedule = "constant"
        lr_warmup: contract.LrWarmup = 0.0

    class Sampling(contract.SamplingOptions):
        gibbs: Annotated[
            int,
            Field(
                ge=0,
                le=100_000,
                description="Steps of a chain of the topmost machine that begins at the code, whose last state is "
                "drawn; 0 draws the code itself.",
            ),
        ] = 0

    sampling: Sampling
    #: An error of images that are given back is no measure of a model of images, and no stage's is another's.
    opens = "last"
    pixels = "odds"

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        sizes = [image.numbers, *options.hidden, options.latent_dim]
        chains = options.fantasies if options.chains == "persistent" else 0
        self.machines = nn.ModuleList(
            Machine(
                visible,
                hidden,
                linear=options.code == "linear" and number == len(sizes) - 2,
                chains=chains,
                steps=options.cd_steps,
                decay=options.weight_decay,
            )
            for number, (visible, hidden) in enumerate(itertools.pairwise(sizes))
        )
        self.monitor = f"{self.phases()[-1].name}/squared_error"
        self.codes = nets.FittedGaussian(options.latent_dim)

    @property
    def stack(self) -> list[Machine]:
        """The machines, from the images on."""
        return [each for each in self.machines if isinstance(each, Machine)]

    @classmethod
    def defaults_for(cls, options: Any, images: Facts) -> Mapping[str, Resolved]:
        """Batch and epochs alone: the authors' settings are of digits, and there are none for other images."""
        return defaults.training(options, images)

    # -- training ------------------------------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        """One machine after the other, each with an equal share of the run: first with the smaller momentum.

        What has moved by that is forgotten where the larger one begins, some ten steps' worth.
        """
        found = []
        for number, machine in enumerate(self.stack):
            name, losses = f"layer{number + 1}", partial(self.losses_of, number)
            begins, ends = number / len(self.machines), (number + 1) / len(self.machines)
            change = min(begins + self.options.share(self.options.initial_epochs), ends)
            change = ends if ends - change < LEAST_SHARE else change
            for label, momentum, first, last in (
                (f"{name}-initial", self.options.initial_momentum, begins, change),
                (name, self.options.momentum, change, ends),
            ):
                if last - first > LEAST_SHARE:
                    descent = {"kind": "sgd", "lr": self.lr_of(machine), "momentum": momentum}
                    found.append(Phase(label, machine, losses, descent, first, last))
        return found

    def lr_of(self, machine: Machine) -> float:
        return self.options.code_lr if machine.linear else self.options.lr

    def losses_of(self, number: int, batch: Batch) -> dict[str, Tensor]:
        """A machine's losses of what those below it make of the images; in a validation also the pixels' squared error.

        The latter is of images that went up to this machine's hidden units and back, summed over an image.
        """
        images = batch.images.flatten(1)
        with torch.no_grad():
            visible = self.up(images, number)
        losses = self.stack[number].losses(visible)
        if not self.training:
            with torch.no_grad():
                back = self.down(self.stack[number].hidden_given(visible), number + 1)
                losses["squared_error"] = (back - images).square().sum(1).mean()
        return losses

    def watch(self, history: Sequence[Mapping[str, float]]) -> Mapping[str, Fault | str]:
        """That a machine gives its input back ever worse; of persistent chains, which don't teach that, nothing."""
        if self.options.chains == "persistent":
            return {}
        for number, machine in enumerate(self.stack):
            names = [f"layer{number + 1}-initial/error", f"layer{number + 1}/error"]
            errors = [values[name] for values in history for name in names if name in values]
            if errors and any(name in history[-1] for name in names) and errors[-1] > RISEN * min(errors):
                rate = "--code-lr" if machine.linear else "--lr"
                helps = [f"a lower {rate} (it is {self.lr_of(machine):g})"]
                helps += [f"a lower --momentum (it is {self.options.momentum:g})"] if self.options.momentum else []
                shows = f"layer {number + 1} gives its input back with an error of {errors[-1]:.4g}"
                return {"rising error": Fault(f"{shows}, and did with {min(errors):.4g}", helps)}
        return {}

    # -- codes and images ----------------------------------------------------------------------------------------------

    def up(self, visible: Tensor, count: int) -> Tensor:
        """Mean-field: what the first `count` machines make of images (B, numbers), one after the other."""
        for machine in self.stack[:count]:
            visible = machine.hidden_given(visible)
        return visible

    def down(self, hidden: Tensor, count: int) -> Tensor:
        """The way back, to images (B, numbers), from hidden units of the machine of number `count`, counted from 1."""
        for machine in reversed(self.stack[:count]):
            hidden = machine.visible_given(hidden)
        return hidden

    def encode(self, images: Tensor) -> Tensor:
        """The code's means, or odds, of images, by the odds of all units below: (B, latent_dim)."""
        return self.up(images.flatten(1), len(self.machines))

    def decode(self, z: Tensor) -> Tensor:
        """The pixels' odds, by those of all units above; where `sampling.gibbs` has steps, of what a chain comes to.

        A chain's random numbers are a function of its own code, so that a seed has one image.
        """
        if self.sampling.gibbs:
            top, noise = self.stack[-1], noise_of(z)
            with torch.no_grad():
                visible = top.gibbs(top.draw_visible(z, noise), self.sampling.gibbs - 1, noise)
                z = top.draw_hidden(visible, noise)
        return self.down(z, len(self.machines)).unflatten(1, tuple(self.image))

    def prior(self, noise: Tensor) -> Tensor:
        return self.codes(noise)

    def fit_prior(self, batches: Iterable[Batch]) -> None:
        self.codes.fit(torch.cat([self.encode(batch.images) for batch in batches]))

    def keep_features(self) -> None:
        del self.codes
        for machine in self.stack:
            del machine.visible_bias
            if machine.persistent:
                del machine.chains, machine.key
