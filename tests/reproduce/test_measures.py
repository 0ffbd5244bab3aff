"""What recipes measure, against values that are known by other means."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from conftest import Genkit, subject_of

from genkit import data
from genkit.contract import ImageShape, Model, Phase
from genkit.data.dataset import Dataset, Split
from genkit.errors import UsageError
from genkit.evaluate.estimate import WILSON
from genkit.evaluate.figure import Figure
from genkit.models.classifier import Classifier
from genkit.reproduce import judged, measures, results
from genkit.reproduce.bench import Bench, TrainedRun
from genkit.reproduce.results import Measured, Record, Row


@pytest.fixture
def trained(genkit: Genkit, digits: Dataset, tmp_path: Path):
    """Train on the bundled digits; gives the run, opened, and what the command said of it."""

    def train(model: str, *options: object) -> tuple[TrainedRun, dict]:
        outcome = genkit("train", model, "--dataset", "mnist5k", "--epochs", 1, "--out", tmp_path, "--json", *options)
        assert outcome.code == 0, outcome.err
        return TrainedRun("net", Path(outcome.json["run"]), digits, torch.device("cpu")), outcome.json

    return train


def figures(found: object) -> dict[str, float]:
    return {each.name: each.value for each in found if isinstance(each, Figure)}  # type: ignore[attr-defined]


def shown(found: object) -> str:
    """What a row shows of the only figure."""
    (figure,) = found  # type: ignore[misc]
    part = {"value": figure.value, "unit": figure.unit, "conditions": figure.conditions}
    record = Record.model_construct(figures={"figure": Measured(**part)})
    return results.ours(record, Row(what="", figure="figure", paper="", criterion="", met=None))


def test_a_linear_autoencoder_that_is_pca(trained) -> None:
    """With PCA's axes in another basis for weights, the angles are 0 and the errors equal."""
    run, _ = trained("ae", "--hidden", "none", "--latent-dim", 5)
    pca = run.pca()
    basis = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    encoder, decoder = run.model.encoder[1][0], run.model.decoder[0][0]
    with torch.no_grad():
        encoder.weight.copy_((pca.axes @ basis).T)
        encoder.bias.copy_(-(pca.mean @ pca.axes @ basis))
        decoder.weight.copy_(pca.axes @ basis)
        decoder.bias.copy_(pca.mean)
    found = figures(measures.linear_subspace(run))
    assert found["pca/largest_angle"] < 1e-3
    assert found["pca/error_ratio"] == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        decoder.weight[:, 0] = torch.randn(784)
    assert figures(measures.linear_subspace(run))["pca/largest_angle"] > 45


def test_a_net_with_hidden_layers_has_no_subspace(trained) -> None:
    run, _ = trained("ae", "--hidden", "8", "--latent-dim", 2)
    with pytest.raises(UsageError, match="isn't linear"):
        list(measures.linear_subspace(run))


def test_the_squared_error_is_the_commands_own(trained) -> None:
    run, said = trained("ae", "--hidden", "8", "--latent-dim", 2)
    found = figures(measures.squared_error(run))
    assert found["squared_error"] == pytest.approx(said["metrics"]["test/squared_error"], rel=1e-5)
    assert found["pca/squared_error"] == pytest.approx(float(run.pca().squared_error(run.images.test).mean()))
    train = figures(measures.training_error(run))["train/squared_error"]
    inputs = run.images.train.images(run.images.train.spread(10_000)) / 255  # which are all 4,000
    with torch.no_grad():
        expected = (run.model.decode(run.model.encode(inputs)) - inputs).square().flatten(1).sum(1).mean()
    assert train == pytest.approx(float(expected), rel=1e-5)
    losses = {each.name: each.unit for each in measures.losses(run)}
    assert losses == {"loss": "as trained", "squared_error": "an image", "active_units": "units"}
    assert figures(measures.losses(run))["squared_error"] == pytest.approx(found["squared_error"], rel=1e-5)


def test_the_watch_is_asked_of_every_validation(trained) -> None:
    """A fault that has passed by the end of the training was one, and the row says its name."""
    run, _ = trained("vae", "--latent-dim", 4, "--hidden", "8")
    metrics = run.run / "metrics.jsonl"
    assert figures(measures.watch(run)) == {"faults": len(run.model.watch(measures.validations(run.run)))}
    healthy = {"step": 8, "val/neg_elbo": 200.0, "val/active_units": 4}
    metrics.write_text("".join(json.dumps(healthy | {"val/active_units": units}) + "\n" for units in (4, 0, 4)))
    assert figures(measures.watch(run)) == {"faults": 1}
    assert shown(measures.watch(run)) == "posterior collapse"
    metrics.write_text(json.dumps(healthy) + "\n")
    assert figures(measures.watch(run)) == {"faults": 0}
    assert shown(measures.watch(run)) == "none"


def test_a_few_images_tell_classes_that_were_never_seen(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of codes that are the class, always; of ones that are all alike, as often as the commonest of them is."""
    run, _ = trained("ae", "--hidden", "8", "--latent-dim", 2, "--only-classes", "0-4")
    seen = []

    def one_hot(_: TrainedRun, split: Split) -> torch.Tensor:
        seen.append(split)
        return torch.nn.functional.one_hot(split.labels).float()

    monkeypatch.setattr(measures, "codes_of", one_hot)
    found = list(measures.few_shot(run, "5-9", draws=2))
    assert {each.name: each.value for each in found} == {"1_shot": 1, "5_shot": 1}
    labels = run.images.test.labels
    assert {each.conditions["test images"] for each in found} == {int((labels >= 5).sum())}
    new = run.images.train.rows[run.images.train.labels >= 5]
    assert torch.isin(seen[0].rows, new).all()
    assert set(seen[0].labels.tolist()) == set(range(5))
    monkeypatch.setattr(measures, "codes_of", lambda _, split: torch.zeros(len(split), 2))
    assert all(0.1 < each.value < 0.3 for each in measures.few_shot(run, "5-9", draws=2))


def test_neighbours_of_a_models_features_where_it_has_no_codes(trained) -> None:
    run, _ = trained("classifier", "--width", 4, "--bottleneck", 2)
    with torch.no_grad():
        features = run.trained.features(run.images.test.images() / 255)
    assert torch.allclose(measures.codes_of(run, run.images.test), features, atol=1e-4)
    assert 0.1 < figures(measures.knn(run))["knn_accuracy"] < 1


def test_neighbours_of_codes_that_are_the_class(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = trained("ae", "--hidden", "8", "--latent-dim", 2)
    labels = run.images.test.labels.float()
    codes = torch.stack([labels, torch.zeros_like(labels)], 1)
    monkeypatch.setattr(measures, "encode_split", lambda *_: codes)
    of_codes, _ = taken = list(measures.knn(run))
    found = figures(taken)
    assert found["knn_accuracy"] == 1
    assert of_codes.error == 1 / (len(labels) + 1), "all of a few answers may be right by luck"
    assert of_codes.conditions["error"] == WILSON
    assert 0.2 < found["pca/knn_accuracy"] < 0.7


class Reader(Model):
    """Reads its answers, of two classes or of two attributes, off an image's two pixels."""

    def __init__(self, **options: object) -> None:
        super().__init__(ImageShape(1, 1, 2), Classifier.Options(**options))

    def phases(self) -> list[Phase]:
        return []

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch):
    """A run of a reader with test images that make it answer so; (N, 2), and what is true of them."""

    def made(reader: Reader, answers: torch.Tensor, truth: dict[str, torch.Tensor], **told: object) -> TrainedRun:
        split = Split((255 * answers).to(torch.uint8).reshape(-1, 1, 1, 2), torch.arange(len(answers)), **truth)
        dataset, cpu = Dataset("read", split, split, split, **told), torch.device("cpu")
        subject = subject_of(reader, dataset, model="reader", classes=dataset.classes)
        monkeypatch.setattr(TrainedRun, "subject", subject)
        return TrainedRun("net", Path(), dataset, cpu)

    return made


@pytest.mark.parametrize(("share", "error"), [(0.0, 1 / 501), (1.0, 1 / 501), (0.1, (0.09 / 500) ** 0.5)])
def test_the_error_of_a_share_is_never_nothing(read, share: float, error: float) -> None:
    wrong = torch.arange(500) < 500 * share
    labels = torch.arange(500) % 2
    answers = torch.nn.functional.one_hot(labels ^ wrong, 2)
    run = read(Reader(classes=2), answers, {"labels": labels}, classes=("even", "odd"))
    (found,) = measures.test_error(run)
    assert (found.value, found.error) == (pytest.approx(share), pytest.approx(error, rel=2e-3))
    assert ("error" in found.conditions) == (share in (0, 1))


def test_the_error_of_several_attributes_is_of_their_mean(read) -> None:
    """Each image has both of its answers right, or one: not as far from the mean as if each were all or nothing."""
    attributes = torch.ones(400, 2, dtype=torch.bool)
    answers = attributes.clone()
    answers[::4, 0] = False
    told = {"male": 0, "glasses": 1}
    (found,) = measures.test_error(
        read(Reader(attributes=told), answers, {"attributes": attributes}, attributes=tuple(told))
    )
    assert found.value == 1 / 8
    assert found.error == pytest.approx(float(answers.double().mean(1).std()) / 20)


def test_pictures_can_all_be_drawn(trained, tmp_path: Path) -> None:
    assert data.names()  # the recipe below is of a set that is there
    path = tmp_path / "all.toml"
    path.write_text(
        'shows = "s"\npaper = "p"\nminutes = 1\ndataset = "mnist5k"\nepochs = 1\nmodel = "vae"\nhidden = [8]\n'
        "[runs.vae]\nsweep.latent-dim = [2, 3]\n[[measure]]\nname = 'losses'\n"
        "[[report]]\nwhat = 'w'\nfigure = 'vae/latent-dim=2: neg_elbo'\n"
        "[[picture]]\nname = 'manifold'\nrun = 'vae/latent-dim=2'\nside = 3\n"
        "[[picture]]\nname = 'samples'\nrun = 'vae/latent-dim=2'\ncount = 4\n"
        "[[picture]]\nname = 'interpolation'\nrun = 'vae/latent-dim=3'\npoints = 3\nsteps = 3\n"
        "[[picture]]\nname = 'codes'\nrun = 'vae/latent-dim=2'\n"
        "[[picture]]\nname = 'pca-codes'\nrun = 'vae/latent-dim=2'\n"
        "[[picture]]\nname = 'curve'\nruns = ['vae']\nover = 'latent-dim'\nfigure = 'neg_elbo'\n"
    )
    from genkit.reproduce.carry_out import carry_out
    from genkit.reproduce.recipe import Recipe

    outcome = carry_out(Recipe(path, out=str(tmp_path / "runs")), tmp_path / "table")
    assert len(outcome.pictures) == 6
    for picture in outcome.pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_likelihood_and_the_bound_of_a_vae(trained) -> None:
    """With one code the estimate is a bound, and with more it is tighter."""
    run, _ = trained("vae", "--latent-dim", 4, "--hidden", "8")
    one, many = (figures(measures.importance_weighted(run, k=k, images=50)) for k in (1, 100))
    kind = measures.MEASURES["likelihood"]
    known = [*kind.gives, *(name for names in kind.gives_where.values() for name in names)]
    assert [name for name in many if not any(fnmatch(name, each) for each in known)] == []
    assert many["nll"] < one["nll"]
    assert many["neg_elbo"] > many["nll"]


def test_a_topic_of_evaluate_is_a_measure(trained, quick_evaluation) -> None:
    """Under the topic's own names, with the same values."""
    from genkit.evaluate import topics
    from genkit.evaluate.subject import Asked

    run, _ = trained("dcgan", "--width", 4, "--latent-dim", 4)
    found = figures(measures.MEASURES["representation"].function(run))
    expected = topics.measure(run.subject, Asked(), ["representation"])
    assert found["svm_10_per_class/code"] == next(
        each.value for each in expected if each.name == "representation/svm_10_per_class/code"
    )
    assert found["svm_1_per_class/pixels"] < found["svm_10_per_class/pixels"]


def test_a_figure_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    bench = Bench.__new__(Bench)
    bench.figures, bench.left_out = {}, {}
    bench.enter("net", [Figure("good", 1.0, None, ""), Figure("bad", float("nan"), None, "")])
    assert bench.figures.keys() == {"net: good"}
    assert "nan" in bench.left_out["net: bad"]


def test_the_best_control_is_the_best(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = trained("ae", "--hidden", "8", "--latent-dim", 2)
    values = {"success": 0.9, "last_added_term_alone": 0.1, "pixels": 0.3, "chance": 0.2}
    monkeypatch.setattr(judged.judge, "of", lambda *_: None)
    monkeypatch.setattr(
        judged.attributes,
        "figures",
        lambda *_, **__: [Figure(f"arithmetic/{name}", value, 0.0, "") for name, value in values.items()],
    )
    found = figures(judged.arithmetic(run, "a - b + c", "smile"))
    assert (found["smile/success"], found["smile/best_control"]) == (0.9, 0.3)
