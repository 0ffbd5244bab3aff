"""What a recipe can measure of a run, by name: `[[measure]]`, with the same words in TOML as the arguments here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from genkit.contract import ability
from genkit.data.batches import in_order
from genkit.data.dataset import Split
from genkit.errors import CheckpointError, UsageError, in_one_line
from genkit.evaluate import classification, figure, likelihood, probe, reconstruction, samples
from genkit.evaluate.estimate import WILSON, error_of_share, estimate
from genkit.evaluate.figure import Figure, LeftOut, Name
from genkit.evaluate.pca import principal_angles
from genkit.evaluate.subject import Asked, Subject
from genkit.files import from_json
from genkit.latent import scores
from genkit.options import as_text
from genkit.reproduce import judged, needs
from genkit.reproduce.bench import Bench, TrainedRun
from genkit.reproduce.needs import Count, Kind, Seed
from genkit.reproduce.results import NAMED
from genkit.run.curves import METRICS
from genkit.run.validation import validate
from genkit.step.passes import encode_split, evaluation_batch

Conditions = dict[str, str | int | float]

#: Units of what training measures, by the last part of its name; a model of one's own may measure more.
UNITS = {
    **dict.fromkeys(("neg_elbo", "iwae", "kl", "reconstruction"), "nats an image"),
    "loss": "as trained",
    "squared_error": "an image",
    "error": "share of images",
    "active_units": "units",
    **dict.fromkeys(("real", "fake"), "taken for real"),
    "sliced_wasserstein": "grey levels of 1, over patches",
    "diversity": "of real images'",
}


def squared_error(run: TrainedRun) -> Iterable[Figure | LeftOut]:
    """Of test images and their reconstructions, summed over pixels in [0, 1]; and PCA's, at the same code size."""
    return errors_of(run.subject, {"squared_error": "squared_error", "pca_squared_error": "pca/squared_error"})


def training_error(run: TrainedRun) -> Iterable[Figure | LeftOut]:
    """The same of 10,000 training images: how much of the error is of generalisation."""
    some = run.images.train.take(run.images.train.spread(10_000))
    return errors_of(replace(run.subject, split="train", images=some), {"squared_error": "train/squared_error"})


def errors_of(subject: Subject, names: Mapping[str, str]) -> Iterable[Figure | LeftOut]:
    """Those figures of `genkit evaluate`'s reconstruction that `names` has, under the names that it gives them."""
    for each in reconstruction.figures(subject, Asked()):
        name = names.get(Name(each.name).within)
        if name is None:
            continue
        if isinstance(each, LeftOut):
            yield replace(each, name=name)
        else:
            yield replace(each, name=name, unit="an image", conditions={**each.conditions, "code": code_size(subject)})


def code_size(subject: Subject) -> int:
    return int(subject.model.options.latent_dim)


def linear_subspace(run: TrainedRun) -> Iterable[Figure]:
    """Of a linear autoencoder: the largest angle between its decoder's subspace and PCA's, and their errors' ratio.

    Neither's pixels are clipped, so that the optimum is PCA's by theorem (Baldi and Hornik, 1989).
    """
    encoder, decoder = run.model.get_submodule("encoder"), run.model.get_submodule("decoder")
    codes = torch.cat([torch.zeros(1, run.code_size), torch.eye(run.code_size)]).to(run.device)
    with torch.no_grad():
        points = decoder(codes).flatten(1).cpu().double()
        columns = (points[1:] - points[0]).T
        between = decoder(codes[1:2] + codes[2:3] if run.code_size > 1 else 2 * codes[1:2]).flatten(1).cpu().double()
    expected = points[1] + points[2 if run.code_size > 1 else 1] - points[0]
    if not torch.allclose(between[0], expected, atol=1e-3):
        raise UsageError(f"{run.name} isn't linear, so there is no subspace to compare with PCA's; give hidden = []")
    pca = run.pca()
    angles = principal_angles(columns, pca.axes)
    yield Figure("pca/largest_angle", float(angles.max()), None, "°", {"code": run.code_size})

    def errors(split: Split) -> Tensor:
        with torch.no_grad():
            batches = in_order(split, evaluation_batch(run.model.image), run.device)
            gaps = (decoder(encoder(batch.images)) - batch.images for batch in batches)
            return torch.cat([gap.double().square().flatten(1).sum(1).cpu() for gap in gaps])

    conditions: Conditions = {"split": "test", "code": run.code_size, "pixels": "not clipped"}
    ours, best = errors(run.images.test), pca.squared_error(run.images.test)
    yield figure.mean("squared_error", ours, "an image", **conditions)
    yield figure.mean("pca/squared_error", best, "an image", **conditions)
    yield Figure("pca/error_ratio", float(ours.mean() / best.mean()), None, "", {"n": len(ours), **conditions})


def knn(run: TrainedRun, k: Count = 10) -> Iterable[Figure]:
    """How often the k nearest other test codes tell an image's class; the same of PCA's codes of that size."""
    assert ability.encodes(run.model)
    test = run.images.test
    for name, codes in (
        ("knn_accuracy", encode_split(run.model, test, run.device)),
        ("pca/knn_accuracy", run.pca().codes(test)),
    ):
        accuracy = scores.separation(codes.double().numpy(), test.labels, k=k)["knn_accuracy"]
        yield share_of(name, accuracy, len(test), k=k, votes="leave one out")


def share_of(name: str, share: float, n: int, **conditions: str | int | float) -> Figure:
    """The share of `n` test images that something holds of, as `figure.share` has it of the answers themselves."""
    if share in (0, 1):
        conditions |= {"error": WILSON}
    return Figure(name, share, error_of_share(share, n), "", {"n": n, "split": "test", **conditions})


def losses(run: TrainedRun) -> Iterable[Figure]:
    """What training itself measures, on the test split: of a VAE the terms of the ELBO."""
    conditions: Conditions = {"n": len(run.images.test), "split": "test"}
    beside = run.images.beside_split("test")
    for name, value in validate(run.trained, run.images.test, run.device, beside=beside).items():
        yield Figure(name, value, None, UNITS.get(name.rpartition("/")[2], ""), conditions)


def watch(run: TrainedRun) -> Iterable[Figure]:
    """How many faults (collapse, saturation) training's watch reports in any of the run's validations."""
    history = validations(run.run)
    faults = {name for count in range(1, len(history) + 1) for name in run.trained.watch(history[:count])}
    conditions: Conditions = {"validations": len(history), NAMED: ", ".join(sorted(faults)) or "none"}
    yield Figure("faults", len(faults), None, "", conditions)


def validations(run: Path) -> list[dict[str, float]]:
    """The metrics of each of a run's validations, in order, without their `val/`.

    Raises:
        CheckpointError: when its curves can't be read.
    """
    try:
        lines = (run / METRICS).read_text(encoding="utf-8").splitlines()
        entries = [from_json(line.encode()) for line in lines]
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run / METRICS} can't be read: {in_one_line(error)}") from error
    prefix = "val/"
    found = [{key[len(prefix) :]: entry[key] for key in entry if key.startswith(prefix)} for entry in entries]
    return [values for values in found if values]


def importance_weighted(
    run: TrainedRun, k: Count = 5000, images: Count = 1000, seed: Seed = 0
) -> Iterable[Figure | LeftOut]:
    """−ln p(x) of test images by importance sampling with `k` codes, and the bound with its terms."""
    for each in likelihood.figures(run.subject, Asked(k=k, nll_images=images, seed=seed)):
        yield replace(each, name=Name(each.name).within or each.name)


def test_error(run: TrainedRun) -> Iterable[Figure | LeftOut]:
    """Share of the test images that a classifier gets wrong; of several attributes, the mean share of their answers."""
    for each in classification.figures(run.subject, Asked()):
        if isinstance(each, LeftOut):
            yield LeftOut("error", each.reason)
        elif isinstance(each, Figure) and each.name == "classification/accuracy":
            yield replace(each, name="error", value=1 - each.value, unit="")


# ---------------------------------------------------------------------------------------------------------------------
# Of several runs
# ---------------------------------------------------------------------------------------------------------------------


def mean_over(bench: Bench, runs: Sequence[str], figure: str, over: str) -> Iterable[Figure]:
    """A figure's mean over the runs of a sweep that differ in all but `over`, with the standard error of their spread.

    It is of no single run, and called `error of pretrained, labels-per-class=5`.
    """
    for name in runs:
        groups: dict[str, list[Figure]] = {}
        for run in bench.recipe.named(name):
            place = bench.recipe.runs[run].values()[over.replace("-", "_")]
            if f"{run}: {figure}" in bench.figures:
                groups.setdefault(f"{over}={as_text(place)}", []).append(bench.figures[f"{run}: {figure}"])
        for place, found in groups.items():
            values = estimate(torch.tensor([each.value for each in found], dtype=torch.float64))
            conditions: Conditions = {"runs": values.n}
            yield Figure(f"{figure} of {name}, {place}", values.value, values.error, found[0].unit, conditions)


MEASURES: Mapping[str, Kind] = {
    "squared-error": Kind(
        squared_error,
        gives=("squared_error",),
        gives_where={needs.fewer_components(reconstruction.PCA_NUMBERS): ("pca/squared_error",)},
        abilities=(ability.ENCODES, ability.GENERATES),
    ),
    "training-error": Kind(
        training_error, gives=("train/squared_error",), abilities=(ability.ENCODES, ability.GENERATES)
    ),
    "linear-subspace": Kind(
        linear_subspace,
        gives=("pca/largest_angle", "squared_error", "pca/squared_error", "pca/error_ratio"),
        abilities=(ability.ENCODES, ability.GENERATES),
        options=(needs.linear,),
    ),
    "knn": Kind(
        knn,
        gives=("knn_accuracy", "pca/knn_accuracy"),
        abilities=(ability.ENCODES, ability.GENERATES),
        images=(needs.several_classes, needs.neighbours),
    ),
    # Which these are, the model says (`soundness.losses_of`).
    "losses": Kind(losses, gives=("*",)),
    "watch": Kind(watch, gives=("faults",)),
    "likelihood": Kind(
        importance_weighted,
        gives=(
            *("neg_elbo", "neg_elbo_of_nll_images", "reconstruction", "kl", "nll", "gap", "effective_codes"),
            "aggregate_kl",
        ),
        gives_where={
            needs.at_least(2): ("active_units",),
            needs.at_least(2 * likelihood.BLOCK): ("aggregate_mmd*",),
        },
        abilities=(ability.LIKELIHOOD,),
    ),
    "test-error": Kind(test_error, gives=("error",), abilities=(ability.CLASSIFIES,), images=(needs.labelled,)),
    "domains": Kind(
        judged.topic("domains"),
        gives=("domain_probe/pixels", "domain_probe/before", "domain_probe/after"),
        gives_where={
            needs.labelled_beside: (
                *("accuracy/before", "accuracy/after"),
                *("accuracy_of_those_adapted_to/before", "accuracy_of_those_adapted_to/after"),
            )
        },
        abilities=(ability.ADAPTS,),
        options=(needs.scikit_learn,),
    ),
    "samples": Kind(
        judged.topic("samples"),
        gives=judged.ON_PIXELS,
        gives_where={needs.labelled: judged.BY_JUDGE, needs.several_classes: judged.OF_CLASSES},
        abilities=(ability.GENERATES,),
        images=(needs.at_least(2 * samples.FEWEST),),
    ),
    "representation": Kind(
        judged.topic("representation"),
        gives=("svm_all_labels/*", "knn_all_labels/*"),
        gives_where={
            needs.of_each_class(count): (f"svm_{count}_per_class/*", f"knn_{count}_per_class/*")
            for count in probe.BUDGETS
            if count is not None
        },
        abilities=(ability.FEATURES,),
        options=(needs.scikit_learn,),
        images=(needs.several_classes,),
    ),
    "arithmetic": Kind(
        judged.arithmetic,
        gives=tuple(
            f"{{label}}/{kind}" for kind in ("success", "last_added_term_alone", "pixels", "chance", "best_control")
        ),
        abilities=(ability.GENERATES,),
        options=(needs.sum_of_attributes, needs.sum_with_a_result),
        images=(needs.attributes, needs.exemplars(judged.EXEMPLARS)),
    ),
}

#: Those that are of several runs together: they are given the bench, with all that has been measured before.
SUMMARIES: Mapping[str, Kind] = {"mean-over": Kind(mean_over)}
