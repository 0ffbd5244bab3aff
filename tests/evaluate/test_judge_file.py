"""A judge of one's own: what is in the file decides what it is, and whatever can't be used is one line."""

from __future__ import annotations

import hashlib
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import Genkit, run_of, saved_checkpoint, small_model
from safetensors.torch import save_file
from torch import Tensor

from genkit.contract import ImageShape
from genkit.data import DataOptions
from genkit.errors import UsageError
from genkit.evaluate import judge_file
from genkit.nets.inception import InceptionV3, maximum, mean_with_border

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CPU = torch.device("cpu")


def line(path: Path, **options: str) -> str:
    """What is said of a file that can't be used."""
    with pytest.raises(UsageError) as caught:
        judge_file.opened(path, CPU, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# ONNX
# ---------------------------------------------------------------------------------------------------------------------


def means(path: Path, given: list[int | str] | None = None, kind: int = 1, axes: tuple[int, ...] = (2, 3)) -> Path:
    """An ONNX file whose features are the means of an image's channels."""
    images = onnx.helper.make_tensor_value_info("images", kind, given or ["N", 3, 8, 8])
    features = onnx.helper.make_tensor_value_info("features", kind, None)
    node = onnx.helper.make_node("ReduceMean", ["images", "axes"], ["features"], keepdims=0)
    constant = onnx.numpy_helper.from_array(torch.tensor(axes).numpy(), "axes")
    graph = onnx.helper.make_graph([node], "means", [images], [features], [constant])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize("count", ["N", 1, 3])
def test_the_features_of_an_onnx_file_are_its_first_output(tmp_path: Path, count: int | str) -> None:
    path = means(tmp_path / "means.onnx", [count, 3, 8, 8])
    judge = judge_file.opened(path, CPU)
    images = torch.rand(7, 3, 8, 8)
    torch.testing.assert_close(judge.features(images), images.mean((2, 3)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert judge.digest == digest
    assert judge.prefix == "onnx_"
    assert judge.by == f"ONNX (features) {digest[:8]}"
    assert judge.name == (
        f"ONNX (features), means.onnx (SHA-256 {digest}); it sees 8×8 pixels in 0..1, other sizes resized (bilinear, "
        "antialiased)"
    )


def test_images_of_another_size_and_grey_ones_are_made_to_fit(tmp_path: Path) -> None:
    judge = judge_file.opened(means(tmp_path / "means.onnx"), CPU)
    large, grey = torch.rand(2, 3, 20, 14), torch.rand(2, 1, 8, 8)
    small = F.interpolate(large, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(judge.features(large), small.mean((2, 3)))
    torch.testing.assert_close(judge.features(grey), grey.mean((2, 3)).expand(2, 3))
    one = judge_file.opened(means(tmp_path / "one.onnx", ["N", 1, 8, 8]), CPU)
    one.require_channels(ImageShape(1, 28, 28))
    judge.require_channels(ImageShape(1, 28, 28))
    said = f"--judge: {tmp_path}/one.onnx takes images of 1 channel, and these have 3; give a net of as many"
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$"):
        one.require_channels(ImageShape(3, 28, 28))


@pytest.mark.parametrize(
    ("scale", "white"), [("0..1", [1.0] * 3), ("-1..1", [1.0] * 3), ("imagenet", [2.2489, 2.4286, 2.64])]
)
def test_pixels_come_in_the_range_that_is_said(tmp_path: Path, scale: judge_file.Range, white: list[float]) -> None:
    judge = judge_file.opened(means(tmp_path / "means.onnx"), CPU, scale)
    torch.testing.assert_close(judge.features(torch.ones(1, 3, 8, 8))[0], torch.tensor(white), atol=1e-4, rtol=0)
    black = {"0..1": 0.0, "-1..1": -1.0, "imagenet": -0.485 / 0.229}[scale]
    assert float(judge.features(torch.zeros(1, 3, 8, 8))[0, 0]) == pytest.approx(black)
    assert f"pixels in {scale}," in judge.name


def outside(path: Path) -> None:
    model = onnx.load(means(path))
    (tensor,) = model.graph.initializer
    onnx.external_data_helper.set_external_data(tensor, location="/etc/passwd", length=16)
    tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())


def two_inputs(path: Path) -> None:
    model = onnx.load(means(path))
    model.graph.input.append(onnx.helper.make_tensor_value_info("condition", 1, ["N", 4]))
    path.write_bytes(model.SerializeToString())


def unknown(path: Path) -> None:
    model = onnx.load(means(path))
    model.graph.node[0].op_type = "Nonsense"
    path.write_bytes(model.SerializeToString())


def seven(path: Path) -> None:
    """Features of seven images, however many are given."""
    model = onnx.load(means(path))
    constant = onnx.numpy_helper.from_array(torch.tensor([7, 3]).numpy(), "seven")
    model.graph.initializer.append(constant)
    model.graph.node[0].output[0] = "rows"
    model.graph.node.append(onnx.helper.make_node("Reshape", ["rows", "seven"], ["features"]))
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (seven, "it fails on images ("),
        (lambda path: means(path, ["N", 3, "H", "W"]), "height and width must be fixed"),
        (lambda path: means(path, ["N", 8, 8, 3]), "images have one channel or three: N×C×H×W"),
        (lambda path: means(path, ["N", 192], axes=(1,)), "of four, N×C×H×W in float32"),
        (lambda path: means(path, kind=11), "its input is tensor(double)"),
        (lambda path: means(path, [10**6, 3, 1000, 1000]), "at most 67,108,864 numbers are given to a judge at once"),
        (lambda path: means(path, ["N", 3, 10**6, 10**6]), "at most 67,108,864 numbers are given to a judge at once"),
        (lambda path: means(path, axes=(3,)), "and not N×F"),
        (outside, "lie in other files (external data)"),
        (two_inputs, "it has 2 inputs (images, condition)"),
        (unknown, "onnxruntime can't run it"),
        (lambda path: path.write_bytes(b""), "neither ONNX nor safetensors"),
        (lambda path: path.write_bytes(b"GIF89a" * 50), "neither ONNX nor safetensors"),
        (lambda path: path.write_bytes(means(path).read_bytes()[:-40]), "it"),
        (lambda path: path.mkdir(), "there is no such file"),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), "is a pickle"),
        (lambda path: torch.save({}, path, _use_new_zipfile_serialization=False), "is a pickle"),
        (lambda path: path.write_bytes(pickle.dumps([1], 4)), "is a pickle"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, write: Callable[[Path], object], says: str) -> None:
    path = tmp_path / "judge"
    write(path)
    said = line(path)
    assert said.startswith(f"--judge: {path}: ")
    assert says in said


def test_what_is_larger_than_is_taken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = means(tmp_path / "means.onnx")
    monkeypatch.setattr(judge_file, "MOST_FEATURES", 2)
    assert line(path) == f"--judge: {path}: it makes 3 features, and at most 2 are taken"
    monkeypatch.setattr(judge_file, "MOST_BYTES", 100)
    size = path.stat().st_size
    assert line(path) == f"--judge: {path}: it has {size:,} bytes, and at most 100 are read"


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs a file that nobody can read from its beginning")
def test_what_cannot_be_read_is_one_line() -> None:
    assert line(Path("/proc/self/mem")) == "--judge: /proc/self/mem: it can't be read (Input/output error)"


def test_libraries_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = means(tmp_path / "means.onnx")
    for missing, named in (("onnxruntime", "onnxruntime"), ("onnx", "onnx and onnxruntime")):
        monkeypatch.setitem(sys.modules, missing, None)
        assert line(path) == f"--judge: {path}: ONNX needs {named}: pip install 'latent-genkit[export]'"


# ---------------------------------------------------------------------------------------------------------------------
# Inception-v3
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random, by pytorch-fid's names."""
    torch.manual_seed(0)
    return {**InceptionV3().state_dict(), "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


def test_an_inception_sees_what_pytorch_fid_shows_it(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "inception.safetensors"
    halves = {name: each.half() if name.startswith("fc") else each for name, each in weights.items()}
    save_file({name: each for name, each in halves.items() if "num_batches" not in name}, path)
    judge = judge_file.opened(path, CPU)
    images = torch.rand(1, 3, 16, 16)
    net = InceptionV3().eval()
    net.load_state_dict({name: each for name, each in weights.items() if not name.startswith("fc.")})
    shown = F.interpolate(images, (299, 299), mode="bilinear", align_corners=False) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(judge.features(images), net(shown))
    assert (judge.prefix, judge.size) == ("inception_", (299, 299))
    assert judge.name.startswith("Inception-v3 (FID's variant), inception.safetensors (SHA-256 ")
    assert judge.name.endswith("it sees 299×299 pixels in -1..1, other sizes resized (bilinear, not antialiased)")
    said = "--judge-range imagenet: an Inception-v3 takes pixels in -1..1; leave it out"
    assert line(path, scale="imagenet") == said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fc.weight": None}, "it has no fc.weight"),
        ({"fc.weight": torch.zeros(10, 2048)}, "fc.weight has 10 rows"),
        ({"Mixed_7c.branch1x1.conv.weight": None}, "Mixed_7c.branch1x1.conv.weight isn't there"),
        ({"layer1.0.conv1.weight": torch.zeros(1)}, "which has no layer1.0.conv1.weight"),
        ({"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 5, 5)}, "is 32×3×5×5, and an Inception-v3's is 32×3×3×3"),
        ({"Conv2d_1a_3x3.bn.bias": torch.full((32,), float("nan"))}, "no finite numbers"),
        ({"Conv2d_1a_3x3.bn.bias": torch.zeros(32, dtype=torch.int8)}, "no finite numbers"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(
    tmp_path: Path, weights: dict[str, Tensor], change: dict[str, Tensor | None], says: str
) -> None:
    found = {name: each for name, each in {**weights, **change}.items() if each is not None}
    with pytest.raises(UsageError) as caught:
        judge_file.built(tmp_path, found)
    assert says in str(caught.value)


def test_torchvisions_variant_is_told_by_its_classes(weights: dict[str, Tensor], tmp_path: Path) -> None:
    theirs = {**weights, "fc.weight": torch.zeros(1000, 2048), "AuxLogits.fc.bias": torch.zeros(1000)}
    for given, name, last in ((weights, "FID", maximum), (theirs, "torchvision", mean_with_border)):
        net, variant = judge_file.built(tmp_path, given)
        assert (variant, net.Mixed_7c.pool) == (name, last)


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (9, "it is neither ONNX nor safetensors; docs/evaluate.md has the command that writes it"),
        (100, "it is no whole safetensors file ("),
        (-1, "it is no whole safetensors file ("),
    ],
)
def test_a_cut_file_is_one_line(tmp_path: Path, cut: int, says: str) -> None:
    path = tmp_path / "judge.safetensors"
    save_file({"fc.weight": torch.zeros(4, 4)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    assert line(path).startswith(f"--judge: {path}: {says}")


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------


def test_digits_are_judged_by_it_alone(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    """They have labels, and no classifier is trained: nothing of what needs one is measured."""
    run, file = run_of(runs, "vae"), means(tmp_path / "means.onnx")
    options = ("--only", "samples", "--samples", 20, "--limit", 40, "--judge", file, "--out", tmp_path)
    outcome = genkit("evaluate", run, *options, "--json")
    assert outcome.code == 0, outcome.err
    assert "training the judge" not in outcome.err
    (found,) = outcome.json["runs"]
    figures = {each["name"]: each for each in found["figures"]}
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    for name in ("samples/onnx_frechet", "samples/onnx_kernel", "samples/onnx_recall_floor"):
        assert f"means.onnx (SHA-256 {digest})" in figures[name]["conditions"]["features"]
    assert not {"samples/frechet", "samples/kernel", "samples/class_entropy"} & set(figures)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--judge", "missing.onnx"], "missing.onnx: there is no such file"),
        (["--judge-range", "imagenet"], "--judge-range says what the file of --judge takes"),
    ],
)
def test_a_wrong_judge_is_refused_before_anything_is_measured(
    genkit: Genkit, runs: Path, arguments: list[str], says: str
) -> None:
    outcome = genkit("evaluate", run_of(runs, "vae"), *arguments)
    assert outcome.code == 2
    assert says in outcome.err


def test_a_judge_that_is_of_other_colours_or_of_nothing_that_is_measured(genkit: Genkit, tmp_path: Path) -> None:
    file = means(tmp_path / "one.onnx", ["N", 1, 8, 8])
    colour = saved_checkpoint(tmp_path / "colour", small_model("vae", ImageShape(3, 8, 8), hidden=(4,), latent_dim=2))
    outcome = genkit("evaluate", colour, "--judge", file, "--out", tmp_path / "out")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].endswith(
        "one.onnx takes images of 1 channel, and these have 3; give a net of as many"
    )
    grey = small_model("ae", ImageShape(1, 28, 28), hidden=(4,), latent_dim=2)
    grey = saved_checkpoint(tmp_path / "grey", grey, data=DataOptions(dataset="mnist5k"))
    options = ("--only", "reconstruction", "--limit", 5, "--device", "cpu", "--out", tmp_path / "out")
    outcome = genkit("evaluate", grey, "--judge", file, *options)
    assert outcome.code == 0, outcome.err
    assert outcome.err.startswith("warning: --judge is of the topic samples, which --only leaves out\n")
