"""What a recipe can measure of a run, by name: `[[measure]]`, with the same words in TOML as the arguments here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genkit import data
from genkit.contract import ability
from genkit.data.batches import in_order
from genkit.data.dataset import Split
from genkit.errors import CheckpointError, UsageError, in_one_line
from genkit.evaluate import classification, figure, likelihood, pca, probe, reconstruction, samples
from genkit.evaluate.estimate import WILSON, error_of_share, estimate
from genkit.evaluate.figure import Figure, LeftOut, Name
from genkit.evaluate.pca import principal_angles
from genkit.evaluate.subject import Asked, Subject
from genkit.files import from_json
from genkit.latent import scores
from genkit.options import as_text
from genkit.reproduce import chained, judged, needs
from genkit.reproduce.bench import Bench, TrainedRun
from genkit.reproduce.needs import Count, Kind, Seed, Share
from genkit.reproduce.results import NAMED
from genkit.run.curves import METRICS
from genkit.run.validation import validate
from genkit.step.passes import encode_split, evaluation_batch, features_of_split

Conditions = dict[str, str | int | float]

#: Labelled images of each new class, and of how many images they are drawn.
SHOTS, FEW_SHOT_POOL = (1, 5), 10_000

#: Units of what training measures, by the last part of its name; a model of one's own may measure more.
UNITS = {
    **dict.fromkeys(("neg_elbo", "iwae", "kl", "reconstruction"), "nats an image"),
    "loss": "as trained",
    "squared_error": "an image",
    **dict.fromkeys(("error", "knn_error"), "share of images"),
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
    """How often the k nearest other test codes tell an image's class; the same of PCA's codes of that size.

    Where a model has no codes, its features.
    """
    test = run.images.test
    ours = codes_of(run, test)
    for name, codes in (
        ("knn_accuracy", ours),
        ("pca/knn_accuracy", pca.fit(run.images.train, ours.shape[1]).codes(test)),
    ):
        accuracy = scores.separation(codes.double().numpy(), test.labels, k=k)["knn_accuracy"]
        yield share_of(name, accuracy, len(test), k=k, votes="leave one out")


def codes_of(run: TrainedRun, split: Split) -> Tensor:
    """The codes of a split's images, (N, latent_dim), or of a model without any their features, (N, F)."""
    take = encode_split if ability.encodes(run.trained) else features_of_split
    return take(run.trained, split, run.device)


def share_of(name: str, share: float, n: int, **conditions: str | int | float) -> Figure:
    """The share of `n` test images that something holds of, as `figure.share` has it of the answers themselves."""
    if share in (0, 1):
        conditions |= {"error": WILSON}
    return Figure(name, share, error_of_share(share, n), "", {"n": n, "split": "test", **conditions})


def few_shot(run: TrainedRun, classes: str, draws: Count = 20, seed: Seed = 0) -> Iterable[Figure]:
    """How often a few labelled codes a class tell test images of classes that the run has never seen.

    The labelled ones are drawn from training images of these classes, and their nearest one, or the vote of the five of
    five a class, tells a test image's.

    Args:
        classes: their names, as `--only-classes` takes them.
    """
    others = data.load(run.settings.data.model_copy(update={"only_classes": classes}))
    train, test = others.train.take(others.train.spread(FEW_SHOT_POOL)), others.test
    if train.labels is None or test.labels is None:
        raise UsageError(f"{others.name} has no classes")
    known, questions = codes_of(run, train), codes_of(run, test)
    scores = probe.probe(known, train.labels, questions, test.labels, "knn", SHOTS, draws, seed, others.classes)
    for score in scores:
        if score.accuracy is not None:
            about: Conditions = {"classes": classes, "test images": len(test), "draws": draws, "code": known.shape[1]}
            yield Figure(f"{score.per_class}_shot", score.accuracy.value, score.accuracy.error, "accuracy", about)


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
    prefix = "val/"
    found = [{key[len(prefix) :]: entry[key] for key in entry if key.startswith(prefix)} for entry in entries_of(run)]
    return [values for values in found if values]


def entries_of(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's curves, in order.

    Raises:
        CheckpointError: when they can't be read.
    """
    try:
        lines = (run / METRICS).read_text(encoding="utf-8").splitlines()
        return [from_json(line.encode()) for line in lines]
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run / METRICS} can't be read: {in_one_line(error)}") from error


def fit(run: TrainedRun, share: Share = 0.99) -> Iterable[Figure | LeftOut]:
    """How well a classifier has its training images by heart, and how many passes over them it took.

    The error is of up to 10,000 training images, with the labels that it was given, in evaluation mode: of the
    checkpoint that is opened. The passes are those to the first validation by which a `share` of them was told; they
    are known of a run that is monitored by its training error alone.
    """
    some = run.images.train.take(run.images.train.spread(10_000))
    yield from errors_told(replace(run.subject, split="train", images=some), "train/error")
    history = [entry for entry in entries_of(run.run) if "val/train_error" in entry]
    passes = next((entry["epoch"] for entry in history if entry["val/train_error"] <= 1 - share), None)
    if passes is not None:
        yield Figure("passes_to_fit", passes, None, "passes", {"share": share})
    elif not history:
        yield LeftOut("passes_to_fit", "the run isn't monitored by its training error; give labels = 'corrupt:0', say")
    else:
        yield LeftOut("passes_to_fit", f"fewer than {share:.0%} of the training labels are told at any validation")


def importance_weighted(
    run: TrainedRun, k: Count = 5000, images: Count = 1000, seed: Seed = 0
) -> Iterable[Figure | LeftOut]:
    """−ln p(x) of test images by importance sampling with `k` codes, and the bound with its terms."""
    for each in likelihood.figures(run.subject, Asked(k=k, nll_images=images, seed=seed)):
        yield replace(each, name=Name(each.name).within or each.name)


def test_error(run: TrainedRun) -> Iterable[Figure | LeftOut]:
    """Share of the test images that a classifier gets wrong; of several attributes, the mean share of their answers."""
    return errors_told(run.subject, "error")


def errors_told(subject: Subject, name: str) -> Iterable[Figure | LeftOut]:
    """The share of wrong answers of a classifier, under this name."""
    for each in classification.figures(subject, Asked()):
        if isinstance(each, LeftOut):
            yield LeftOut(name, each.reason)
        elif isinstance(each, Figure) and each.name == "classification/accuracy":
            yield replace(each, name=name, value=1 - each.value, unit="")


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
        abilities=(ability.FEATURES,),
        images=(needs.several_classes, needs.neighbours),
    ),
    "few-shot": Kind(
        few_shot,
        gives=tuple(f"{count}_shot" for count in SHOTS),
        abilities=(ability.FEATURES,),
        options=(needs.some_classes,),
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
    "fit": Kind(fit, gives=("train/error", "passes_to_fit"), abilities=(ability.CLASSIFIES,), images=(needs.labelled,)),
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
    "prior-by-chains": Kind(
        chained.prior,
        gives=(
            *("{by}/acceptance", "{by}/effective_a_second", "{by}/rhat", "ancestral/effective_a_second"),
            "map/diversity",
        ),
        gives_where={needs.several_classes: ("{by}/frechet", "ancestral/frechet")},
        abilities=(ability.GENERATES, ability.LIKELIHOOD),
        images=(needs.at_least(2),),
    ),
    "completions": Kind(
        chained.completions,
        gives=(
            *("given/{by}/acceptance", "given/{by}/effective_a_second", "given/{by}/rhat"),
            *("given/{by}", "given/map", "given/prior", "given/over_map"),
        ),
        abilities=(ability.GENERATES, ability.LIKELIHOOD, ability.PIXELS),
        images=(needs.at_least(1),),
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
