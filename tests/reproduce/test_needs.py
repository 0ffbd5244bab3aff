"""What a step needs of its runs' models, options and images is asked before anything is trained, quick run or full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ALONE, Genkit

from genkit import registry
from genkit.contract import Model, ability
from genkit.data.dataset import Dataset, Split
from genkit.errors import UsageError
from genkit.reproduce import needs, soundness
from genkit.reproduce.measures import MEASURES
from genkit.reproduce.recipe import Recipe
from genkit.reproduce.sheets import PICTURES
from genkit.run import trainer

HEAD = 'shows = "s"\npaper = "p"\nminutes = 1\ndataset = "mnist5k"\nimage-size = 8\nepochs = 1\n'
ROW = '[[report]]\nwhat = "w"\nfigure = "{figure}"\n'
SUM = 'expression = "a - b + c"\n'
#: What each step has to be told besides its name.
WORDS = {
    "arithmetic": SUM,
    "curve": 'over = "epochs"\nfigure = "loss"\nruns = ["net"]\n',
    **dict.fromkeys(("codes", "pca-codes", "samples", "interpolation", "manifold", "domains"), 'run = "net"\n'),
    **dict.fromkeys(("reconstructions", "codes-side-by-side"), 'runs = ["net"]\n'),
    "few-shot": 'classes = "5-9"\n',
    "prior-by-chains": 'by = "hmc"\n',
    "completions": 'by = "hmc"\ngiven = "top-half"\n',
}
STEPS = [("measure", name) for name in MEASURES] + [("picture", name) for name in PICTURES]


def recipe(folder: Path, text: str, quick: bool = False) -> Recipe:
    path = folder / "own.toml"
    path.write_text(text)
    return Recipe(path, quick, str(folder / "runs"))


def step(kind: str, name: str, more: str = "") -> str:
    words = WORDS.get(name, "")
    if (kind, name) == ("measure", "arithmetic"):
        words += 'label = "l"\n'
    elif (kind, name) == ("measure", "samples"):
        words = ""
    elif (kind, name) in (("picture", "arithmetic"), ("picture", "completions")):
        words += 'run = "net"\n'
    return f'[[{kind}]]\nname = "{name}"\n{words}{more}'


@pytest.mark.parametrize(
    ("value", "place"),
    [(3, 3), (0.5, 0.5), ("corrupt:0.2", 0.2), ("corrupt:1", 1), ("random", None), ("a.b", None), (None, None)],
)
def test_a_curve_has_places_for_numbers_and_what_ends_with_one(value: object, place: float | None) -> None:
    assert needs.number_in(value) == place


def lacking(name: str) -> list[tuple[str, ability.Ability]]:
    """A model without each ability that the step of this name needs, where there is one."""
    kind = {**MEASURES, **PICTURES}[name]
    found = [(model, each) for each in kind.abilities for model in ALONE]
    return [(model, each) for model, each in found if not ability.has(registry.find(model), each)]


@pytest.mark.parametrize(
    ("kind", "name", "quick"),
    [
        (kind, name, quick)
        for kind, name in STEPS
        for quick in (False, True)
        # Of these the full run would be refused for its options first.
        if not (quick and name in ("linear-subspace", "manifold", "domains"))
    ],
)
def test_a_model_that_cannot_is_refused_in_its_abilitys_words(
    kind: str, name: str, quick: bool, tmp_path: Path
) -> None:
    """A model that a quick run alone has is refused as well, and in a full run, too."""
    of_kind = MEASURES if kind == "measure" else PICTURES
    needed = of_kind[name].abilities
    able = next((model for model in ALONE if all(ability.has(registry.find(model), each) for each in needed)), "")
    for model, each in lacking(name):
        if each not in needed or not all(
            ability.has(registry.find(model), other) for other in needed[: needed.index(each)]
        ):
            continue  # that is said of the first that it lacks
        run = f'[runs.net]\nmodel = "{able if quick else model}"\n'
        smoke = f'[quick.runs.net]\nmodel = "{model}"\n' if quick else ""
        row = '[[measure]]\nname = "watch"\n' + ROW.format(figure="net: faults")
        made = recipe(tmp_path, HEAD + run + smoke + step(kind, name) + row, quick)
        with pytest.raises(UsageError) as refusal:
            soundness.check(made)
        assert str(refusal.value).endswith(f"the run net is of the model {model}, which {each.lacks}")


def test_a_model_without_features_has_none_to_probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Bare(Model):
        def phases(self) -> list:
            return []

    class Seeing(Bare):
        def features(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    class Coding(Bare):
        def encode(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    made = recipe(tmp_path, HEAD + '[runs.net]\nmodel = "ae"\n' + ROW.format(figure="net: loss"))
    settings = made.runs["net"]
    monkeypatch.setattr(needs.registry, "find", lambda _: Bare)
    said = MEASURES["representation"].unfit(settings, {})
    assert said == "is of the model ae, which neither encodes images nor defines features"
    for kind in (Seeing, Coding):
        monkeypatch.setattr(needs.registry, "find", lambda _, kind=kind: kind)
        assert MEASURES["representation"].unfit(settings, {}) is None
    assert MEASURES["squared-error"].unfit(settings, {}) == "is of the model ae, which makes no images"


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    ("run", "text", "said"),
    [
        ('model = "ae"\nhidden = [8]', step("measure", "linear-subspace"), "isn't linear"),
        ('model = "conv-ae"', step("measure", "linear-subspace"), "isn't linear"),
        ('model = "vae"\nhidden = []', step("measure", "linear-subspace"), "whose code is a distribution"),
        (
            'model = "ae"\nhidden = []\nloss = "cross-entropy"',
            step("measure", "linear-subspace"),
            "isn't trained by the squared error",
        ),
        ('model = "ae"', step("measure", "few-shot"), "is trained on all classes, so that none is new"),
        ('model = "vae"\nlatent-dim = 3', step("picture", "manifold"), "has a code of 3 numbers"),
        (
            'model = "ae"',
            step("picture", "samples", "sampling.gibbs = 3\n"),
            "the model ae has no options of its sampling",
        ),
        ('model = "rbm"', step("picture", "samples", "sampling.gibbs = -3\n"), "gibbs must be at least 0"),
        ('model = "ae"', step("picture", "arithmetic").replace("b +", "+"), "has an empty term"),
        ('model = "ae"', step("picture", "arithmetic").replace("a -", "a & !a -"), "wants 'a' both ways"),
        ('model = "ae"', step("measure", "arithmetic").replace("b + c", "a"), "asks for no attribute"),
        ('model = "ae"', step("measure", "arithmetic").replace("a - b + c", "- a - b"), "adds nothing"),
        (
            'model = "ae"\n[runs.other]\nmodel = "ae"\nimage-size = 16',
            step("picture", "reconstructions").replace('"net"', '"net", "other"'),
            "net and other are of other images",
        ),
    ],
)
def test_options_that_do_not_do_are_refused(run: str, text: str, said: str, quick: bool, tmp_path: Path) -> None:
    row = '[[measure]]\nname = "watch"\n' + ROW.format(figure="net: faults")
    with pytest.raises(UsageError, match=said):
        soundness.check(recipe(tmp_path, f"{HEAD}[runs.net]\n{run}\n{text}{row}", quick))


def test_a_package_that_is_missing_is_said_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROW.format(figure="net: svm_all_labels/code")
    made = recipe(tmp_path, f'{HEAD}[runs.net]\nmodel = "ae"\n{step("measure", "representation")}{row}')
    soundness.check(made)
    monkeypatch.setattr(needs, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"the run net would be measured with scikit-learn.*pip install scikit-learn"):
        soundness.check(made)


def some_images(test: int = 20, classes: int = 0, attributes: bool = False, each: int = 10) -> Dataset:
    """Noise, with `each` training images of each class; of the test images every other has the attribute a."""

    def split(count: int) -> Split:
        pixels = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)
        labels = torch.arange(count) % classes if classes else None
        has = (torch.arange(count)[:, None] % 2 == torch.arange(2)) if attributes else None
        return Split(pixels, torch.arange(count), labels, has)

    names = tuple(f"c{k}" for k in range(classes))
    return Dataset("noise", split(max(classes, 1) * each), split(4), split(test), names, ("a", "b") * attributes)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    ("model", "text", "images", "said"),
    [
        ("ae", step("measure", "knn"), {}, "noise has no classes to tell apart"),
        ("ae", step("measure", "knn"), {"classes": 2, "test": 10}, "too few for 10 neighbours each"),
        ("ae", step("measure", "knn", "k = 9\n"), {"classes": 2, "test": 10}, None),
        ("classifier", step("measure", "test-error"), {}, "neither classes nor attributes"),
        ("ae", step("measure", "samples"), {"classes": 2, "test": 11}, "11 test images, and this needs 12"),
        ("ae", step("measure", "samples"), {"classes": 2, "test": 12}, None),
        ("dcgan", step("measure", "representation"), {"classes": 1}, "noise has no classes to tell apart"),
        ("ae", step("picture", "codes"), {}, "noise has no classes"),
        ("dcgan", step("picture", "pca-codes"), {}, "noise has no classes"),
        ("ae", step("picture", "arithmetic").replace("+ c", "+ a"), {"classes": 2}, "it has none"),
        ("ae", step("picture", "arithmetic").replace("- b + c", "- b + a&b"), {"attributes": True}, "no image of"),
        ("dcgan", step("picture", "arithmetic").replace("- b + c", "- b + a&b"), {"attributes": True}, None),
        (
            "ae",
            step("measure", "arithmetic").replace("b + c", "b + a"),
            {"attributes": True, "test": 4},
            "only 2 test images of noise are 'a'; 3 are needed",
        ),
        ("ae", step("measure", "arithmetic").replace("b + c", "b + a"), {"attributes": True, "test": 6}, None),
    ],
)
def test_images_that_do_not_do_are_refused(
    model: str, text: str, images: dict, said: str | None, quick: bool, tmp_path: Path
) -> None:

    row = '[[measure]]\nname = "watch"\n' + ROW.format(figure="net: faults")
    made = recipe(tmp_path, f'{HEAD}[runs.net]\nmodel = "{model}"\n{text}{row}', quick)
    there = {made.runs["net"].data: some_images(**images)}
    if said is None:
        soundness.check_with_images(made, there)
        return
    with pytest.raises(UsageError, match=said):
        soundness.check_with_images(made, there)
    soundness.check_with_images(made, {})  # of images that aren't here nobody knows


@pytest.mark.parametrize(
    ("measure", "figure", "options", "images", "said"),
    [
        ("samples", "frechet", "", {}, "neither classes nor attributes for a classifier to learn"),
        ("samples", "frechet", "", {"attributes": True}, None),
        ("samples", "kernel_floor", "", {"classes": 2}, None),
        ("samples", "smallest_share", "", {"attributes": True}, "has no classes to tell apart"),
        ("samples", "smallest_share", "", {"classes": 2}, None),
        ("samples", "sliced_wasserstein", "", {}, None),
        (
            "representation",
            "svm_50_per_class/code",
            "",
            {"classes": 2},
            "only 10 training images of the class c0",
        ),
        ("representation", "svm_10_per_class/code", "", {"classes": 2}, None),
        ("representation", "knn_all_labels/pixels", "", {"classes": 2}, None),
        ("squared-error", "pca/squared_error", "latent-dim = 64", {"each": 100}, "PCA gives every image back"),
        ("squared-error", "pca/squared_error", "latent-dim = 63", {"each": 100}, None),
    ],
)
def test_a_row_of_a_figure_that_the_images_do_not_give_is_refused(
    measure: str, figure: str, options: str, images: dict, said: str | None, tmp_path: Path
) -> None:
    """It would come to "not measured", and so to "not met". A quick run isn't held to its rows."""
    text = f'{HEAD}{options}\n[runs.net]\nmodel = "ae"\n{step("measure", measure)}{ROW.format(figure=f"net: {figure}")}'
    made = recipe(tmp_path, text)
    soundness.check(made)
    there = {made.runs["net"].data: some_images(**images)}
    if said is None:
        soundness.check_with_images(made, there)
    else:
        with pytest.raises(UsageError, match=f"'net: {figure}' can't be measured: .*{said}"):
            soundness.check_with_images(made, there)
    soundness.check_with_images(recipe(tmp_path, text, quick=True), there)


def test_samples_without_a_classifier_are_refused_before_training(
    genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "array.npy", np.random.default_rng(0).integers(0, 256, (200, 8, 8), dtype=np.uint8))
    text = HEAD.replace("mnist5k", str(tmp_path / "array.npy"))
    path = tmp_path / "own.toml"
    path.write_text(f'{text}[runs.net]\nmodel = "ae"\n{step("measure", "samples")}{ROW.format(figure="net: frechet")}')
    monkeypatch.setattr(trainer, "start", lambda *_: pytest.fail("it is trained"))
    outcome = genkit("reproduce", path, "--out", tmp_path / "runs", "--results", tmp_path / "table")
    assert (outcome.code, (tmp_path / "runs").exists()) == (2, False), outcome.err
    assert "the row 'w': 'net: frechet' can't be measured" in outcome.err


def test_a_dry_run_says_what_a_model_has_to_be_able_to_do(genkit: Genkit, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    steps = step("measure", "squared-error") + step("picture", "pca-codes") + step("picture", "codes")
    path.write_text(f'{HEAD}[runs.net]\nmodel = "ae"\n{steps}{ROW.format(figure="net: squared_error")}')
    needed = genkit("reproduce", path, "-n", "--json").json["runs"]["net"]["needs"]
    assert needed == ["encodes", "generates", "features"]
    lines = genkit("reproduce", path, "-n").out.splitlines()
    assert "measure   squared-error  (needs: encodes, generates)" in lines
    assert "draw      pca-codes of net" in lines
    path.write_text(path.read_text().replace('"ae"', '"dcgan"'))
    outcome = genkit("reproduce", path, "-n")
    assert (outcome.code, "the model dcgan, which has no encoder" in outcome.err) == (2, True)
