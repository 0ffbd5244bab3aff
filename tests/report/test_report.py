"""The report of real runs: what is on the page, where it comes from, and that nothing else gets in."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Genkit, run_of
from report.reading import Reading

import genkit as package
from genkit import cli
from genkit.cli import report
from genkit.cli.shared import load_run, looked_up
from genkit.data.dataset import Dataset, Split
from genkit.errors import DataError
from genkit.evaluate import kept
from genkit.evaluate.figure import Figure
from genkit.evaluate.table import shown
from genkit.keep import checkpoint, description
from genkit.keep.config import Config
from genkit.keep.opened import Opened
from genkit.latent import images, pictures
from genkit.report import account, card, evaluations, gallery, page, training
from genkit.report.account import Account
from genkit.report.blocks import Text
from genkit.report.figures import section as evaluation_section
from genkit.report.history import Point
from genkit.run import record

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def quietly(*arguments: object) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main([str(each) for each in arguments])
    assert not exit_info.value.code


@pytest.fixture(scope="module", autouse=True)
def _few_points() -> Iterator[None]:
    """An embedding of few points, which a busy machine draws in less time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "EMBEDDED", 100)
        yield


@pytest.fixture(scope="module")
def vae(_few_points: None, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE of two dimensions with an evaluation; a copy, because other tests read the run."""
    run = tmp_path_factory.mktemp("reported") / "00007-vae-mnist5k"
    shutil.copytree(run_of(runs, "vae"), run, ignore=shutil.ignore_patterns("evaluation*"))
    quietly("evaluate", run, "--only", "reconstruction,likelihood", "--limit", "40", "--k", "5", "--device", "cpu")
    quietly("report", run, "--device", "cpu")
    return run


@pytest.fixture(scope="module")
def reading(vae: Path) -> Reading:
    return Reading((vae / "report.html").read_bytes())


@pytest.fixture
def copied(vae: Path, tmp_path: Path) -> Path:
    """The same run, to be spoilt."""
    run = tmp_path / "00007-vae-mnist5k"
    shutil.copytree(vae, run, ignore=shutil.ignore_patterns("report*.html", "tb"))
    return run


@pytest.fixture
def known(vae: Path, digits: Dataset) -> Account:
    return opened(vae, lambda: digits)


def opened(run: Path, load: Callable[[], Dataset]) -> Account:
    return account.read(Opened.find(str(run), torch.device("cpu")), load=load)


def saying(known: Account, **changes: object) -> Opened:
    """The run of an account, whose checkpoint says something else of itself."""
    read = known.opened.checkpoint
    return dataclasses.replace(
        known.opened, checkpoint=read._replace(description=read.description.model_copy(update=changes))
    )


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def evaluated(run: Path) -> dict:
    """The only evaluation of a run."""
    (found,) = json.loads((run / "evaluation.json").read_text())["evaluations"]
    return found


def reported(genkit: Genkit, run: Path) -> Reading:
    outcome = genkit("report", run, "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.err
    return Reading(Path(outcome.json["report"]).read_bytes())


# What is on the page


def test_a_page_needs_nothing_and_may_do_nothing(reading: Reading) -> None:
    reading.require_self_contained()
    (policy,) = [found for tag, found in reading.elements if tag == "meta" and found.get("http-equiv")]
    css = re.search(rb"<style>(.*?)</style>", reading.content, re.DOTALL)
    assert css
    digest = base64.b64encode(hashlib.sha256(css[1]).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert ("html", {"lang": "en"}) in reading.elements


def test_sections_stand_in_the_order_in_which_a_reader_asks(reading: Reading) -> None:
    assert list(reading.sections)[1:] == [
        *("card", "settings", "training", "samples-while-it-trained", "reconstruction", "samples", "interpolation"),
        *("arithmetic", "dimensions", "manifold", "embedding", "evaluation", "use"),
    ]


def test_the_first_sentence_has_the_two_main_figures(reading: Reading, vae: Path) -> None:
    figures = {each["name"]: Figure(**each) for each in evaluated(vae)["figures"]}
    nll, error = (shown(figures[name]) for name in ("likelihood/nll", "reconstruction/squared_error"))
    of = figures["likelihood/nll"].conditions["n"]
    fewer = f" (of {of})" if of < figures["reconstruction/squared_error"].conditions["n"] else ""
    assert (
        "A VAE of 1×28×28 images, trained for 2 epochs on 4,000 images of mnist5k: "
        f"NLL {nll} nats an image{fewer} and squared error {error} an image, measured on "
        f"{evaluated(vae)['images']} of its test images."
    ) in reading.text("")


def test_a_sentence_says_of_how_few_images_a_figure_is() -> None:
    figure = Figure("likelihood/nll", 131.8, 8.0, "nats an image, summed", {"n": 20})
    assert card.in_a_sentence(figure, 500) == "NLL 131.8 ± 8.0 nats an image (of 20)"
    assert card.in_a_sentence(figure, 20) == "NLL 131.8 ± 8.0 nats an image"


def test_the_first_sentence_is_of_its_own_images_and_says_of_how_many(vae: Path, copied: Path, digits: Dataset) -> None:
    """An evaluation by other images may be the newest, and one of a few of them the only one."""
    ours = evaluated(vae)

    def sentence(*entries: dict) -> str:
        content = {"schema_version": 2, "run": None, "evaluations": entries}
        (copied / "evaluation.json").write_text(json.dumps(content))
        return card.sentence(opened(copied, lambda: digits))

    other = {**ours, "dataset": "fashion-mnist", "data_sum": "0" * 64, "figures": ours["figures"][::-1]}
    assert sentence(ours, other) == sentence(ours)
    assert sentence(ours).endswith(f", measured on {ours['images']} of its test images.")
    assert sentence({**ours, "images": len(digits.test)}).endswith(", measured on its test images.")
    assert "measured on" not in sentence(other)


def test_a_checkpoint_that_is_not_the_best_is_not_called_so(copied: Path, genkit: Genkit) -> None:
    first, best = sorted((copied / "checkpoints").iterdir())
    reading = reported(genkit, first)
    assert [row[0] for row in reading.tables["Validation after each epoch"][1:]] == ["1 (this)", "2"]
    assert "on its validation images" in reading.text("")
    assert "best:" not in "".join(found["aria-label"] or "" for _, found in reading.elements if "aria-label" in found)
    assert f'genkit.load("{copied.name}/checkpoints/{first.name}")' in reading.text("use")
    assert f"--resume {copied.name}" in reading.text("use")
    assert f"checkpoints/{best.name}" not in reported(genkit, copied).text("use")


def test_the_card_says_what_decides_the_run(reading: Reading, vae: Path) -> None:
    best = max((vae / "checkpoints").iterdir())
    about = description.describe(best)
    environment = json.loads((vae / "environment.json").read_text())
    rows = {row[0]: row[1] for row in reading.tables["The card"]}
    weights = sum(tensor.numel() for tensor in checkpoint.read(best).model.parameters())
    assert rows["model"] == "vae, 2 numbers a code"
    assert rows["weights"] == f"{weights:,}"
    assert rows["data"] == "mnist5k: 4,000 train, 500 val, 500 test"
    assert rows["image"] == "1×28×28"
    assert rows["seed"] == "0"
    assert rows["trained"].startswith(f"{about.step:,} steps, 2 epochs, ")
    total = hashlib.sha256((best / "manifest.json").read_bytes()).hexdigest()
    value = about.metrics["val/neg_elbo"]
    assert rows["checkpoint"] == f"{best.name} (best), sha256 {total[:12]}, val/neg_elbo {value:.5g}"
    assert rows["versions"].startswith(f"genkit {package.__version__}, torch {environment['torch']}")
    assert rows["device"] == environment["device"]
    if environment["revision"]:
        assert rows["revision"] == environment["revision"]


def test_settings_that_were_given_stand_apart_from_defaults(reading: Reading) -> None:
    given = {row[0]: row[1:] for row in reading.tables["Set for this run"][1:]}
    assert given["hidden"] == ["64", "flag"]
    assert given["latent-dim"] == ["2", "flag"]
    assert set(given) == {"dataset", "epochs", "batch-size", "hidden", "latent-dim", "out", "device", "prior"}
    defaults = {row[0]: row[1] for row in reading.tables["All other options"][1:]}
    assert defaults["beta"] == "1.0"
    assert not given.keys() & defaults.keys()


def test_the_training_is_that_of_metrics_jsonl(reading: Reading, vae: Path) -> None:
    rows = metrics(vae)
    validations = [row for row in rows if "val/loss" in row]
    table = reading.tables["Validation after each epoch"]
    names = [name.removeprefix("val/") for name in validations[0] if name.startswith("val/")]
    assert table[0] == ["epoch", "loss", "−ELBO", "reconstruction", "KL", "active units"]
    assert [row[1:] for row in table[1:]] == [[f"{row[f'val/{name}']:,.5g}" for name in names] for row in validations]
    assert [row[0] for row in table[1:]] == ["1", "2 (best)"]
    title = f"Measured on the test split at the end of training, by the checkpoint of step {rows[-1]['step']}"
    tested = {row[0]: row[1] for row in reading.tables[title][1:]}
    assert tested["−ELBO"] == f"{rows[-1]['test/neg_elbo']:,.6g}"
    charts = [found["aria-label"] or "" for tag, found in reading.elements if tag == "svg" and "aria-label" in found]
    trained = [row["train/neg_elbo"] for row in rows if "train/neg_elbo" in row]
    held_out = [row["val/neg_elbo"] for row in validations]
    assert charts[0] == (
        f"−ELBO by epoch: train from {trained[0]:.4g} to {trained[-1]:.4g}; "
        f"validation from {held_out[0]:.4g} to {held_out[-1]:.4g}; best: {held_out[-1]:.4g}"
    )
    # The loss is the same curve, and isn't drawn twice; the gradient's norm comes last.
    assert [each.partition(" by ")[0] for each in charts] == [
        "−ELBO",
        "reconstruction",
        "KL",
        "active units",
        "grad norm",
    ]


def pixels_of(picture: object, columns: int, side: int) -> np.ndarray:
    """The images (N, H, W) on a picture of grey images that are enlarged and a gap apart."""
    whole, alpha = (np.asarray(picture.convert(mode)) for mode in ("L", "LA"))  # type: ignore[attr-defined]
    pitch = side + 3
    assert whole.shape[1] == columns * pitch - 3
    assert (alpha[:side, side : side + 3, 1] == 0).all()  # gaps show the page
    assert (alpha[:side, :side, 1] == 255).all()
    rows = (whole.shape[0] + 3) // pitch
    return np.stack([whole[r * pitch :, c * pitch :][:side, :side] for r in range(rows) for c in range(columns)])


def test_pictures_are_those_that_the_best_checkpoint_makes(reading: Reading, vae: Path, digits: Dataset) -> None:
    model = checkpoint.read(max((vae / "checkpoints").iterdir())).model
    (samples,) = reading.pictures_of("samples")
    expected = images.to_uint8(images.enlarge(pictures.samples(model, range(60), None).images))[:, 0].numpy()
    # One grey level means "transparent", and its pixels are one level off.
    assert np.abs(pixels_of(samples, 10, 84).astype(int) - expected).max() <= 1
    originals = digits.test.images(digits.test.spread(20))
    first, second = reading.pictures_of("reconstruction")
    for band, part in ((first, originals[:10]), (second, originals[10:])):
        shown = pixels_of(band, 10, 84).astype(int)
        decoded = pictures.reconstructions(model, images.to_float(part), [], "").images
        assert np.abs(shown[:10] - images.enlarge(part)[:, 0].numpy()).max() <= 1
        assert np.abs(shown[10:] - images.to_uint8(images.enlarge(decoded))[:, 0].numpy()).max() <= 1
    (manifold,) = reading.pictures_of("manifold")
    assert manifold.size == (20 * 84, 20 * 84)
    assert len(reading.pictures_of("interpolation")) == 4
    assert len(reading.pictures_of("dimensions")) == 2
    assert "label:7 − label:1 + label:4" in reading.text("arithmetic")
    assert len(reading.pictures_of("embedding")) == 1


def test_samples_through_time_are_those_of_the_run(reading: Reading, vae: Path) -> None:
    drawn = sorted(vae.glob("samples-*.png"))
    stages = reading.pictures_of("samples-while-it-trained")
    assert len(stages) == len(drawn) == 2
    for stage, path in zip(stages, drawn, strict=True):
        whole = np.asarray(images.Image.open(path)).astype(int)
        shown = pixels_of(stage, 4, 84).astype(int)
        assert np.abs(shown[5] - whole[86:170, 86:170]).max() <= 1  # second row, second column
    assert "epoch 1" in reading.text("samples-while-it-trained")


def test_the_evaluation_is_that_of_evaluation_json(reading: Reading, vae: Path) -> None:
    ours = evaluated(vae)
    assert "On 40 test images of mnist5k, 1×28×28." in reading.text("evaluation")
    figures = [Figure(**each) for each in ours["figures"]]
    cells = {cell for row in [*reading.tables["Reconstruction"], *reading.tables["Likelihood"]] for cell in row[1:]}
    assert {shown(each) for each in figures} == cells
    notes = reading.text("evaluation")
    for figure in figures:
        for key in figure.conditions.keys() - {"dataset", "split", "resolution", "n"}:
            assert key.replace("_", " ") in notes
    (nll,) = [row for row in reading.tables["Likelihood"] if row[0].startswith("NLL")]
    mark = re.fullmatch(r"NLL nats an image(\d+)", nll[0])
    assert mark
    notes = re.findall(r'<li id="note-(\d+)">(.*?)</li>', reading.content.decode())
    assert "k 5" in dict(notes)[mark[1]]


def test_it_ends_with_how_to_go_on(reading: Reading, vae: Path) -> None:
    code = re.findall(r"<pre[^>]*><code>(.*?)</code>", reading.content.decode(), re.DOTALL)
    assert code[0].replace("&#34;", '"').splitlines() == [
        "import genkit",
        f'model = genkit.load("{vae.name}")',
        "images = model.sample(16, seed=0)  # (16, 1, 28, 28) in [0, 1]",
    ]
    assert f"genkit evaluate {vae.name}" in code[1].splitlines()


# Models that can do less


def test_a_dcgan_shows_what_it_can_and_says_the_rest(runs: Path, genkit: Genkit, tmp_path: Path) -> None:
    run = tmp_path / run_of(runs, "dcgan").name
    shutil.copytree(run_of(runs, "dcgan"), run, ignore=shutil.ignore_patterns("evaluation*"))
    outcome = genkit("report", run, "--device", "cpu", "--out", tmp_path / "r.html")
    assert outcome.out == f"{tmp_path / 'r.html'}\n"
    reading = Reading((tmp_path / "r.html").read_bytes())
    reading.require_self_contained()
    assert {"samples", "interpolation", "dimensions", "embedding"} <= set(reading.sections)
    assert not {"reconstruction", "arithmetic", "manifold"} & set(reading.sections)
    assert "Reconstruction: a dcgan has no encoder" in reading.text("left-out")
    assert "seed 0 → seed 1" in reading.text("interpolation")
    assert "It hasn't been evaluated".lower() in reading.text("evaluation").lower()
    assert f"genkit evaluate {run_of(runs, 'dcgan').name}" in reading.text("evaluation")


def test_a_classifier_has_no_pictures_and_a_reason(runs: Path, genkit: Genkit, tmp_path: Path) -> None:
    outcome = genkit("report", run_of(runs, "classifier"), "--device", "cpu", "--out", tmp_path / "r.html", "--json")
    reading = Reading((tmp_path / "r.html").read_bytes())
    reading.require_self_contained()
    assert reading.text("left-out") == (
        "Left out Samples while it trained, Reconstruction, Samples, Interpolation, Arithmetic, Dimensions, Manifold: "
        "a classifier makes no images."
    )
    assert outcome.json["missing"]["Samples"] == ["a classifier makes no images"]
    assert len(reading.pictures) == 1  # the embedding
    assert "probabilities = model.classify(images)" in reading.text("use")


# Several runs


def test_several_runs_stand_side_by_side(vae: Path, runs: Path, genkit: Genkit, tmp_path: Path) -> None:
    first, second = tmp_path / "00001-vae-mnist5k", tmp_path / "00002-ae-mnist5k"
    shutil.copytree(vae, first, ignore=shutil.ignore_patterns("report*.html"))
    shutil.copytree(run_of(runs, "ae"), second, ignore=shutil.ignore_patterns("evaluation*"))
    outcome = genkit("report", first, second, "--device", "cpu", "--json")
    assert outcome.json["report"] == str(tmp_path / "report.html")
    assert outcome.json["runs"] == [str(first), str(second)]
    reading = Reading((tmp_path / "report.html").read_bytes())
    reading.require_self_contained()
    names = [first.name, second.name]
    assert reading.tables["The card"][0][1:] == names
    assert reading.row("The card", "model")[1:] == ["vae, 2 numbers a code", "ae, 8 numbers a code"]
    assert reading.row("Set, or different between the runs", "latent-dim")[1:] == ["2", "8"]
    assert reading.tables["Likelihood"][0][1:] == [first.name]
    assert f"{second.name}: it hasn't been evaluated" in reading.text("evaluation")
    for section in ("training", "samples", "embedding"):
        assert all(name in reading.text(section) for name in names)
    assert len(reading.pictures_of("samples")) == 2
    assert "only a latent space of 2 dimensions" in reading.text("manifold")  # the column of the second run
    (first / "report.html").touch()
    assert report.place([load_run(looked_up(str(first)), "cpu")]) == first / "report-2.html"


def test_runs_on_other_images_have_axes_of_their_own(known: Account) -> None:
    """Whose losses aren't alike; and of a beginning that is cut off nothing is said where none is."""
    assert not isinstance(known.history, account.Missing)
    points = [Point(step, step / 10, value) for step, value in ((1, 9.0), (5, 8.0), (10, 7.0))]
    even = dataclasses.replace(known.history, train={}, val={"neg_elbo": points})
    far = dataclasses.replace(even, val={"neg_elbo": [Point(0, 0, 1e6), *points]})
    first = dataclasses.replace(known, history=even)
    others = {"data_digest": "f" * 64, "data": known.description.data.model_copy(update={"dataset": "others"})}
    second = dataclasses.replace(known, history=far, opened=saying(known, **others))
    assert training.about([first, first]) == "By epoch."
    assert training.about([second]) == (
        "By epoch. Where a curve begins so far away that the rest would be flat, its beginning is cut off."
    )
    assert training.about([first, second]).endswith(
        "Runs on other images, or that choose by another metric, have axes of their own."
    )
    higher = dataclasses.replace(even, val={"neg_elbo": [point._replace(value=3 * point.value) for point in points]})
    alone = training.sections([first])[0][0]
    assert training.sections([first, dataclasses.replace(second, history=higher)])[0][0] == alone
    assert training.sections([first, dataclasses.replace(first, history=higher)])[0][0] != alone


def test_runs_share_their_axes(known: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "GALLERY", ())
    longer = dataclasses.replace(known, name="other")
    assert not isinstance(longer.history, account.Missing)
    points = [point._replace(epoch=10 * point.epoch) for point in longer.history.val["neg_elbo"]]
    longer = dataclasses.replace(
        longer, history=dataclasses.replace(longer.history, val={**longer.history.val, "neg_elbo": points})
    )
    reading = Reading(page.make([known, longer]).content)
    first = re.search(r'<svg class="chart".*?</svg></figure>', reading.content.decode(), re.DOTALL)
    assert first
    assert ">20</text>" in first[0]  # the other run's last epoch, on this run's axis


# Whatever a run's folder holds


def test_text_of_a_run_is_never_markup(copied: Path, genkit: Genkit) -> None:
    run = copied.rename(copied.with_name(f"00007-{HOSTILE.replace('/', '')}"))
    environment = json.loads((run / "environment.json").read_text())
    environment |= {"command": ["genkit", HOSTILE, "\x00\x1b[31m\u202e"], "device": HOSTILE, "torch": HOSTILE}
    (run / "environment.json").write_text(json.dumps(environment))
    with (run / "metrics.jsonl").open("a") as file:
        for split in ("train", "val", "test"):
            file.write(json.dumps({"step": 5, "epoch": 1, f"{split}/{HOSTILE}\x00": 1.0}) + "\n")
    ours = evaluated(run)
    ours["figures"][0] |= {
        "name": f"{HOSTILE}/x",
        "unit": HOSTILE,
        "conditions": {HOSTILE: HOSTILE},
        "warning": HOSTILE,
    }
    ours["left_out"] = [{"name": HOSTILE, "reason": HOSTILE}]
    ours["dataset"] = HOSTILE
    (run / "evaluation.json").write_text(json.dumps({"schema_version": 2, "evaluations": [ours]}))
    reading = reported(genkit, run)
    reading.require_self_contained()
    assert reading.content.count(b"&lt;script&gt;alert(1)") > 10
    assert HOSTILE in reading.text("evaluation")
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", reading.content.decode())


def test_names_of_classes_and_runs_are_never_markup(
    known: Account, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = tuple(f"{HOSTILE}{number}" for number in range(10))
    named = saying(known, classes=classes, attributes=(HOSTILE,))
    dataset = dataclasses.replace(digits, name=HOSTILE, classes=classes)
    hostile = dataclasses.replace(known, name=HOSTILE, path=Path(HOSTILE), opened=named, dataset=dataset)
    reading = Reading(page.make([hostile]).content)
    reading.require_self_contained()
    assert f"{HOSTILE}0 → {HOSTILE}2" in reading.text("interpolation")
    assert HOSTILE in reading.text("card")
    assert any(HOSTILE in alt for _, alt, _ in reading.pictures)
    monkeypatch.setattr(page, "GALLERY", ())
    Reading(page.make([hostile, known]).content).require_self_contained()


def test_a_report_comes_out_of_a_damaged_run(copied: Path, genkit: Genkit) -> None:
    last = max(copied.glob("samples-*.png"))
    damage = {
        "config.json": (b"{", "settings", "config.json can't be read"),
        "environment.json": (b"[1, 2]", "card", "environment.json isn't as it was written"),
        "metrics.jsonl": (b"\xff\x00nonsense", "left-out", "metrics.jsonl has no curves: none of its 1 lines can be"),
        "evaluation.json": (b'{"figures": [{"value": "x"}]}', "evaluation", "evaluation.json can't be read"),
        last.name: (b"\x89PNG\r\n\x1a\n", "samples-while-it-trained", f"{last.name} is no image"),
    }
    for name, (content, _, _) in damage.items():
        assert (copied / name).exists()
        (copied / name).write_bytes(content)
    reading = reported(genkit, copied)
    reading.require_self_contained()
    for _, section, said in damage.values():
        assert said in reading.text(section)
    assert reading.tables["All other options"][1:]  # those of the checkpoint
    assert len(reading.pictures_of("samples")) == 1


def test_a_report_comes_out_of_a_run_of_which_nothing_is_left_but_the_checkpoint(copied: Path, genkit: Genkit) -> None:
    for path in copied.iterdir():
        if path.is_file() and path.name != "config.json":
            path.unlink()
    (copied / "metrics.jsonl").symlink_to(copied / "config.json")
    (copied / "evaluation.json").write_text('{"evaluations": 7}')
    reading = reported(genkit, copied)
    assert "metrics.jsonl can't be read: metrics.jsonl is no regular file" in reading.text("left-out")
    assert "environment.json can't be read" in reading.text("card")
    assert "evaluation.json can't be read" in reading.text("evaluation")
    assert "the run has drawn no samples yet" in reading.text("left-out")
    assert len(reading.pictures_of("samples")) == 1


def test_lines_that_cannot_be_drawn_are_left_aside(copied: Path, genkit: Genkit) -> None:
    with (copied / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "epoch": 3, "val/neg_elbo": 1e999, "val/kl": "x", "val/new": true}\n')
        file.write('{"step": 41, "epoch": 3, "val/kl": 1' + 400 * "0" + ', "val/neg_elbo": -1e300}\n')
        file.write('{"step": 42, "epoch": NaN, "val/kl": 1}\n[]\n{"step": 43, "epoch": 4, "val/kl": ')
    reading = reported(genkit, copied)
    assert "3 lines of metrics.jsonl can't be read." in reading.text("training")
    assert len(reading.tables["Validation after each epoch"]) == 3
    assert not re.search("(?i)nan|inf", reading.text("training"))


def test_without_its_images_a_run_shows_what_it_can(vae: Path, digits: Dataset) -> None:
    def gone() -> Dataset:
        raise DataError("/gone: no such file or folder")

    other = dataclasses.replace(digits, test=digits.val)
    for load, said in (
        (gone, "its images aren't there: gone: no such file or folder"),
        (lambda: other, "the images of mnist5k aren't those that it was trained on"),
    ):
        made = page.make([opened(vae, load)])
        reading = Reading(made.content)
        assert said in reading.text("card").replace("Its", "its").replace("The images", "the images")
        assert said in reading.text("left-out")
        assert not {"reconstruction", "arithmetic", "embedding"} & set(reading.sections)
        assert len(reading.pictures_of("samples")) == 1
        assert "seed 0 → seed 1" in reading.text("interpolation")
        assert made.missing["Embedding"] == [said]


def test_of_a_single_test_image_the_walk_is_between_seeds(known: Account, digits: Dataset) -> None:
    lone = dataclasses.replace(known, dataset=dataclasses.replace(digits, test=digits.test.take(slice(1))))
    reading = Reading(page.make([lone]).content)
    assert "seed 0 → seed 1" in reading.text("interpolation")
    assert "Between seeds, not test images: there are no two of them." in reading.text("interpolation")


def test_a_model_that_fails_leaves_a_line(known: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known.model, "decode", lambda z: 1 / 0)
    reading = Reading(page.make([known]).content)
    assert "Samples, Interpolation" in reading.text("left-out")
    assert "ZeroDivisionError" in reading.text("left-out")
    assert "embedding" in reading.sections


def test_a_checkpoint_by_itself(vae: Path, genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(max((vae / "checkpoints").iterdir()), tmp_path / "best")
    monkeypatch.chdir(tmp_path)
    assert genkit("report", "best", "--device", "cpu").out == "report.html\n"
    reading = Reading((tmp_path / "report.html").read_bytes())
    assert "Training, Samples while it trained: this is a checkpoint by itself" in reading.text("left-out")
    assert 'genkit.load("best")' in reading.text("use")
    assert len(reading.pictures_of("samples")) == 1


def test_evaluations_of_other_checkpoints_are_no_evaluations_of_this_one(vae: Path, tmp_path: Path) -> None:
    ours = evaluated(vae)

    def read(*entries: dict) -> list[evaluations.Evaluation] | account.Missing:
        content = {"schema_version": 2, "run": None, "evaluations": entries}
        (tmp_path / "evaluation.json").write_text(json.dumps(content))
        return evaluations.read(tmp_path, ours["sum"])

    def value(of: evaluations.Evaluation) -> float:
        return next(iter(of.figures.values())).value

    newer, other_images, foreign = ({**ours, "figures": [dict(ours["figures"][0])]} for _ in range(3))
    newer["figures"][0]["value"] = 1.5
    other_images |= {"images": 77}
    foreign |= {"sum": "0" * 64}
    alone, several = read(ours), read(ours, foreign, other_images, newer)
    assert isinstance(alone, list)
    assert isinstance(several, list)
    assert [value(each) for each in alone] == [ours["figures"][0]["value"]]
    # The newest first, and of those on the same images only the newest.
    assert [(each.on.images, value(each)) for each in several] == [(40, 1.5), (77, ours["figures"][0]["value"])]
    assert read(foreign) == account.Missing("another checkpoint of it has been evaluated, not this one")
    null = {**ours, "figures": [{**ours["figures"][0], "value": None, "conditions": {"sigma": None}}]}
    (found,) = read(null)  # type: ignore[misc]
    assert np.isnan(value(found))


def test_images_that_only_share_a_name_are_told_apart(known: Account, vae: Path, tmp_path: Path) -> None:
    """Figures on them stand in no table together, and the older ones aren't dropped."""
    ours = evaluated(vae)
    others = [{**ours, "resolution": "1×32×32"}, {**ours, "data_sum": "f" * 64}]
    content = {"schema_version": 2, "run": None, "evaluations": [*others, ours]}
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    found = evaluations.read(tmp_path, ours["sum"])
    assert isinstance(found, list)
    accounts = [
        dataclasses.replace(known, name=name, evaluations=[one]) for name, one in zip("abc", found, strict=True)
    ]
    texts = [block.text for block in evaluation_section(accounts) if isinstance(block, Text)]
    heads = [text.partition(". Each figure")[0] for text in texts if text.startswith("On ")]
    assert heads == [
        f"On 40 test images of mnist5k, 1×28×28, sha256 {ours['data_sum'][:12]}",
        "On 40 test images of mnist5k, 1×28×28, sha256 ffffffffffff",
        "On 40 test images of mnist5k, 1×32×32",
    ]


def test_an_evaluation_is_read_that_is_as_large_as_may_be_written(vae: Path, tmp_path: Path) -> None:
    ours = evaluated(vae)
    kept.write(tmp_path / kept.NAME, None, [{**ours, "left_out": [{"name": "a", "reason": "b" * (1 << 25)}]}])
    assert isinstance(evaluations.read(tmp_path, ours["sum"]), list)


# Files


def test_where_files_lie_is_nobodys_business(known: Account) -> None:
    """Only the last part of a path is in what one sends to others."""
    assert isinstance(known.config, Config)
    home = "/home/someone/clients/acme photos"
    images = known.description.data.model_copy(update={"dataset": home})
    command = ["/home/someone/bin/genkit", "train", "vae", "--dataset", home, f"--out={home}/runs", "--lr", "1e-3"]
    private = dataclasses.replace(
        known,
        path=Path(home) / known.name,
        opened=saying(known, data=images),
        config=known.config._replace(data=images, run=known.config.run.model_copy(update={"out": f"{home}/runs"})),
        environment={"command": command},
        dataset=account.images_of(known.description.model_copy(update={"data": images}), lambda: missing(home)),
        evaluations=account.Missing("it hasn't been evaluated"),
    )
    blocks = [*card.card([private]), *card.settings([private]), *card.uses(private), *evaluation_section([private])]
    text = f"{card.sentence(private)} {blocks}"
    assert "someone" not in text
    assert "clients" not in text
    assert "genkit train vae --dataset 'acme photos' --out=runs --lr 1e-3" in text
    assert "its images aren't there: acme photos isn't a folder; mnist is in mnist.zip" in text
    assert text.count("acme photos") >= 4


def missing(path: str) -> Dataset:
    raise DataError(f"{path} isn't a folder; mnist is in /home/someone/data/mnist.zip")


def test_nothing_is_overwritten_but_a_report(vae: Path, genkit: Genkit, tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("<p>mine</p>")
    outcome = genkit("report", vae, "--out", mine)
    assert (outcome.code, mine.read_text()) == (1, "<p>mine</p>")
    assert f"{mine} is no report and stays as it is" in outcome.err
    link = tmp_path / "link.html"
    link.symlink_to(mine)
    assert genkit("report", vae, "--out", link).code == 1
    assert genkit("report", vae, "--out", tmp_path / "page.txt").code == 2
    before = tmp_path / "before.html"
    before.write_bytes((vae / "report.html").read_bytes() + b"<!-- an earlier one -->")
    assert genkit("report", vae, "--device", "cpu", "--out", before).code == 0
    assert before.read_bytes() == (vae / "report.html").read_bytes()  # the same run, the same bytes


# Where the revision comes from


def test_the_revision_is_that_of_the_clone_and_of_nothing_above_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(tmp_path), *arguments]
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()

    (tmp_path / "genkit").mkdir()
    (tmp_path / "genkit" / "__init__.py").write_text("")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    git("tag", "-a", "v1", "-m", "a tag")
    monkeypatch.setattr(record, "__file__", str(tmp_path / "genkit" / "run" / "record.py"))
    revision = git("rev-parse", "--short=12", "HEAD")
    assert record.revision() == revision
    (tmp_path / "genkit" / "__init__.py").write_text("# changed")
    assert record.revision() == f"{revision}-dirty"
    (tmp_path / "genkit" / "site" / "genkit").mkdir(parents=True)
    monkeypatch.setattr(record, "__file__", str(tmp_path / "genkit" / "site" / "genkit" / "run" / "record.py"))
    assert record.revision() is None


def test_a_split_without_labels_can_be_embedded(known: Account, digits: Dataset) -> None:
    def bare(split: Split) -> Split:
        return dataclasses.replace(split, labels=None)

    plain = Dataset("plain", *(bare(split) for split in digits.splits().values()))
    reading = Reading(page.make([dataclasses.replace(known, dataset=plain)]).content)
    assert "no score: the data has no labels" in reading.text("embedding")
    assert "test image 0 → test image" in reading.text("interpolation")
    assert "plain has too few classes and attributes to calculate with" in reading.text("left-out")


def test_faces_are_calculated_with_by_their_attributes(known: Account, digits: Dataset) -> None:
    def attributed(split: Split) -> Split:
        some = torch.stack([split.labels % 2 == 0, split.labels > 4], 1)  # type: ignore[operator]
        return dataclasses.replace(split, labels=None, attributes=some)

    faces = Dataset("faces", *map(attributed, digits.splits().values()), attributes=("even", "large"))
    reading = Reading(page.make([dataclasses.replace(known, dataset=faces)]).content)
    assert "even&large − even&!large + !even&!large" in reading.text("arithmetic")
