"""Exported files against the model that they are of, opened by the libraries that others open them with."""

from __future__ import annotations

import hashlib
import json
import math
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ALONE, Genkit, run_of, saved_checkpoint, small_model
from torch import Tensor

import genkit as package
from genkit import export, registry
from genkit.contract import ImageShape
from genkit.errors import GenkitError
from genkit.evaluate import judge_file
from genkit.keep import checkpoint
from genkit.keep.checkpoint import Checkpoint
from genkit.models.classifier import Classifier
from genkit.models.dcgan import DCGAN
from genkit.models.vae import VAE
from genkit.step.training import TrainingState

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ODD = ImageShape(3, 45, 20)


def of_dcgan(image: ImageShape) -> Classifier:
    """A classifier on a DCGAN's discriminator, whose weights are spectrally normalised."""
    source = DCGAN(image, DCGAN.Options(width=4, latent_dim=8))
    options = Classifier.Options(classes=10, **Classifier.options_from(source))
    model = Classifier(image, options)
    model.load_state_dict({**model.state_dict(), **model.weights_from(source)})
    return model


CASES = {name: lambda image, name=name: small_model(name, image, width=4, hidden=(32,)) for name in registry.names()}
CASES["dcgan"] = lambda image: DCGAN(image, DCGAN.Options(net="residual", width=4, latent_dim=8))
CASES["classifier on dcgan"] = of_dcgan
#: A net of one level: of more, exporting takes minutes and says nothing more.
CASES["flow"] = lambda image: small_model("flow", image, width=4, blocks=1, patch=8)
CASES["dcgan of the paper"] = lambda image: DCGAN(image, DCGAN.Options(recipe="paper", width=4, latent_dim=8))


def opened(tmp_path: Path, case: str, image: ImageShape = ODD) -> Checkpoint:
    torch.manual_seed(0)
    model = CASES[case](image)
    read = checkpoint.read(saved_checkpoint(tmp_path / "checkpoint", model))
    if case == "flow":  # its file has every step of its solver one after the other
        read.model.sampling = read.model.Sampling(solver="euler", steps=1)  # type: ignore[operator]
    return read


def answers(file: Path, *inputs: Tensor) -> list[list[Tensor]]:
    """What a file makes of each input, by the library that it is meant for."""
    if file.suffix == ".pt2":
        module = torch.export.load(file).module()
        found = [module(each) for each in inputs]
        return [list(each) if isinstance(each, tuple) else [each] for each in found]
    session = onnxruntime.InferenceSession(str(file))
    (name,) = (each.name for each in session.get_inputs())
    assert {each.shape[0] for each in [*session.get_inputs(), *session.get_outputs()]} == {"N"}
    return [[torch.from_numpy(each) for each in session.run(None, {name: every.numpy()})] for every in inputs]


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        *((name, kind) for name in ALONE for kind in ("onnx", "pt2")),
        ("classifier on dcgan", "onnx"),
        ("dcgan of the paper", "pt2"),
    ],
)
def test_every_file_answers_as_the_model_does(case: str, kind: Any, tmp_path: Path, monkeypatch) -> None:
    """In colour, at odd sizes, at batch sizes that no exporter was shown; and the README's lines run."""
    source = opened(tmp_path, case)
    made = export.functions(source, "a run", tmp_path / "made", kind, torch.rand(2, *ODD))
    model: Any = source.model
    functions = {
        "encoder": lambda each: [model.encode(each)],
        "decoder": lambda each: [model.decode(each)],
        "prior": lambda each: [model.prior(each)],
        "classifier": lambda each: [model(each), model(each).softmax(1)],
    }
    assert sorted(path.name for path in made.folder.iterdir()) == sorted(made.files)
    parts = {path.stem: path for path in made.files.values() if path.suffix != ".md"}
    assert parts.keys() == made.differences.keys()
    assert ("encoder" in parts) == hasattr(model, "encode")
    assert ("decoder" in parts) == hasattr(model, "decode")
    assert ("prior" in parts) == (case in ("ae", "conv-ae", "dcgan of the paper", "rbm"))
    assert ("classifier" in parts) == isinstance(model, Classifier)
    assert bool(made.notes) == (case.startswith("dcgan"))
    readme = made.files["README.md"].read_text()
    for name, file in parts.items():
        inputs = [
            torch.rand(n, *ODD) if name in ("encoder", "classifier") else torch.randn(n, model.options.latent_dim)
            for n in (1, 3, 5)
        ]
        for given, found in zip(inputs, answers(file, *inputs), strict=True):
            for ours, theirs in zip(functions[name](given), found, strict=True):
                torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
        assert f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" in readme
        if kind == "onnx" and name in ("encoder", "classifier"):  # `genkit evaluate --judge`
            features = judge_file.opened(file, torch.device("cpu")).features(inputs[2])
            torch.testing.assert_close(features, functions[name](inputs[2])[0], atol=1e-5, rtol=1e-5)

    monkeypatch.chdir(made.folder)
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    called: dict[str, Any] = {}
    exec(code, called)
    if "classifier" in parts:
        assert called["probabilities"].shape == (2, 10)
        assert called["names"] == [f"class {k}" for k in range(10)]
    elif "decoder" in parts:
        assert called["images"].shape == (5, *ODD)
    else:
        assert called["codes"].shape == (2, model.options.latent_dim)
    if case == "dcgan of the paper":
        assert -1 <= called["codes"].min() <= called["codes"].max() <= 1
        assert "has no encoder" in readme


def holds_only_its_own(file: Path, weights: torch.nn.Module) -> None:
    """The weights of one net, and not where genkit lies on this machine."""
    content, own = file.read_bytes(), 4 * sum(each.numel() for each in weights.parameters())
    assert own < len(content) < 1.4 * own
    assert str(Path(export.__file__).parent).encode() not in content


def test_a_file_holds_what_it_needs(tmp_path: Path) -> None:
    source = opened(tmp_path, "vae", ImageShape(1, 64, 64))
    made = export.functions(source, "a run", tmp_path / "made", "pt2", torch.rand(1, 1, 64, 64))
    for part in ("encoder", "decoder"):
        holds_only_its_own(made.files[f"{part}.pt2"], getattr(source.model, part))


@pytest.mark.parametrize(("kind", "wrong"), [("pt2", 1e-2), ("pt2", float("nan")), ("onnx", 1e-2)])
def test_a_wrong_file_is_refused(kind: Any, wrong: float, tmp_path: Path, monkeypatch) -> None:
    """One weight of the exported copy is off; the decoder's file is the second, and the first goes with it."""
    source = opened(tmp_path, "vae", ImageShape(1, 28, 28))

    def off(model: Any) -> Any:
        copy = right(model)
        copy.decoder[0][-1].bias[17] += wrong
        return copy

    right = export.plain_copy
    monkeypatch.setattr(export, "plain_copy", off)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(GenkitError, match=f"decoder.{kind} differs from the model by .* 0.0001 is accepted") as refused:
        export.functions(source, "a run", tmp_path / "made", kind, torch.rand(1, 1, 28, 28))
    assert refused.value.exit_code == 1
    assert sorted(tmp_path.iterdir()) == before


def difference_where(expected: list[float], found: list[float]) -> float:
    """Of a file that gives `found` for the last of seven rows, and what it should for the others."""
    part = export.Part("it", torch.nn.Linear(2, 2, bias=False), export.Value("x", (2,), ""), ())
    part.module.weight.data = torch.eye(2)
    rows = torch.tensor([*[[0.1, 0.2]] * 6, expected])
    return export.difference(part, lambda x: [torch.tensor([*x[:6].tolist(), *[found] * (len(x) > 6)])], [(rows,)])


def test_the_difference_is_that_of_the_worst_number() -> None:
    """Relative to the largest number, where that is above 1."""
    assert difference_where([0.5, 0.7], [0.5, 0.7]) == 0
    assert difference_where([0.5, 0.7], [0.52, 0.7]) == pytest.approx(0.02)
    assert difference_where([50.0, -80.0], [50.02, -80.0]) == pytest.approx(0.02 / 80, rel=1e-3)
    assert math.isnan(difference_where([0.5, 0.7], [0.5, math.nan]))
    part = export.Part("it", torch.nn.Linear(2, 2), export.Value("x", (2,), ""), ())
    assert export.difference(part, lambda x: [part.module(x)[:1]], [(torch.rand(7, 2),)]) == math.inf


def test_a_model_that_cannot_be_exported_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    """An encoder that decides by what it sees."""
    source = opened(tmp_path, "vae", ImageShape(1, 28, 28))
    encode = VAE.encode
    monkeypatch.setattr(VAE, "encode", lambda model, x: encode(model, x) if x.sum() > 0 else encode(model, 1 - x))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(GenkitError, match=r"the encoder can't be exported as pt2, so nothing was written: \w+"):
        export.functions(source, "a run", tmp_path / "made", "pt2", torch.rand(1, 1, 28, 28))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", ["safetensors", "onnx", "pt2"])
def test_a_full_disk_leaves_nothing(kind: Any, tmp_path: Path) -> None:
    """Played by a limit on the size of a file."""
    source, folder = opened(tmp_path, "vae", ImageShape(1, 64, 64)), tmp_path / "exports" / "made"
    write: Any = export.weights if kind == "safetensors" else export.functions
    arguments = [] if kind == "safetensors" else [kind, torch.rand(1, 1, 64, 64)]
    before = sorted(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(GenkitError, match=r"written .*File too large"):
            write(source, "a run", folder, *arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_prints_files_and_differences_and_no_chatter(runs: Path, tmp_path: Path) -> None:
    """As a process of its own: what a library says when it is loaded would show."""
    command = [sys.executable, "-m", "genkit", "export", str(run_of(runs, "vae")), "--format", "onnx", "--json"]
    ended = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    using, encoder, decoder, prior = ended.stderr.splitlines()
    assert using.startswith("using ")
    result = json.loads(ended.stdout)
    for line, part in ((encoder, "encoder"), (decoder, "decoder"), (prior, "prior")):
        gap = result["differences"][part]
        assert 0 <= gap < 1e-5
        assert line == f"{part:10} at most {gap:.1e} from the model, in batches of 1, 2 and 7"
    folder = tmp_path / f"{run_of(runs, 'vae').name}-onnx"
    assert result["folder"] == str(folder)
    assert {name: Path(path) for name, path in result["files"].items()} == {
        path.name: path for path in folder.iterdir()
    }
    model: Any = package.load(run_of(runs, "vae")).model
    for part in ("encoder", "decoder"):
        holds_only_its_own(folder / f"{part}.onnx", getattr(model, part))


def test_onnx_without_its_extra_is_a_line(genkit: Genkit, runs: Path, monkeypatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else object())
    outcome = genkit("export", run_of(runs, "vae"), "--format", "onnx")
    assert outcome.code == 2
    assert outcome.err == "genkit: --format onnx needs onnxscript: pip install onnxscript\n"


# -- weights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vae", "dcgan", "classifier"])
def test_exported_weights_open_everywhere(name: str, genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    run = run_of(runs, name)
    outcome = genkit("export", run, "--out", tmp_path, "--json")
    assert outcome.code == 0, outcome.err
    folder, source = Path(outcome.json["folder"]), Path(outcome.json["checkpoint"])
    assert folder == tmp_path / f"{run.name}-safetensors"
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "checkpoint.json",
        "manifest.json",
        "model.safetensors",
        *(["prior.safetensors"] if name == "vae" else []),
    }

    def size(path: Path) -> int:
        return sum(each.stat().st_size for each in path.iterdir())

    assert size(folder) < 0.4 * size(source)
    ours, theirs = package.load(folder).model, checkpoint.read(source).model
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())
    assert genkit("info", folder).code == 0
    assert genkit("embed", folder, "--limit", "50", "--out", tmp_path / "embedded").code == 0
    assert genkit("export", run, "--out", tmp_path, "--json").json["folder"] == f"{folder}-2"


def test_the_average_is_what_is_exported(tmp_path: Path) -> None:
    """Of a model that keeps one, the weights themselves are of no use to anybody but training."""
    model = VAE(ImageShape(1, 8, 8), VAE.Options(hidden=(4,), latent_dim=2, ema=0.5))
    source = checkpoint.read(saved_checkpoint(tmp_path / "checkpoint", model))
    assert not torch.equal(source.model.encoder[1][0].weight, model.encoder[1][0].weight)
    made = export.weights(source, "a run", tmp_path / "made")
    found = checkpoint.read(made.folder).model
    assert torch.equal(found.encoder[1][0].weight, source.model.encoder[1][0].weight)


def test_a_folder_of_images_is_named_without_its_place(tmp_path: Path) -> None:
    model = VAE(ImageShape(1, 8, 8), VAE.Options(hidden=(4,), latent_dim=2))
    folder = saved_checkpoint(tmp_path / "checkpoint", model, data={"dataset": "/home/anna/private/mnist"})
    made = export.weights(checkpoint.read(folder), "a run", tmp_path / "made")
    assert b"private" not in b"".join(path.read_bytes() for path in made.folder.iterdir())
    assert checkpoint.read(made.folder).description.data.dataset == "./mnist", "and not the set of this name"


@pytest.mark.parametrize("file", ["model.safetensors", "checkpoint.json", "manifest.json"])
def test_a_flipped_bit_is_refused(file: str, tmp_path: Path) -> None:
    model = VAE(ImageShape(1, 8, 8), VAE.Options(hidden=(4,), latent_dim=2))
    made = export.weights(checkpoint.read(saved_checkpoint(tmp_path / "c", model)), "a run", tmp_path / "made")
    path = made.files[file]
    whole = path.read_bytes()
    for position in (0, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(package.errors.CheckpointError, match="made"):
            package.load(made.folder)
    path.write_bytes(whole)
    package.load(made.folder)


def test_training_does_not_go_on_from_what_was_exported(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    """But begins with its weights."""
    folder = genkit("export", run_of(runs, "vae"), "--out", tmp_path, "--json").json["folder"]
    assert genkit("train", "--resume", folder).code == 2
    with pytest.raises(package.errors.CheckpointError, match="was exported, without its training state"):
        checkpoint.restore(Path(folder), TrainingState(VAE(ImageShape(1, 28, 28), VAE.Options()), 2, 2))
    began = ["train", "vae", "--dataset", "mnist5k", "--epochs", "1", "--init-from", folder, "--out", tmp_path / "runs"]
    assert genkit(*began).code == 0


def test_a_checkpoint_without_its_training_state_is_not_taken_for_an_exported_one(tmp_path: Path) -> None:
    model = VAE(ImageShape(1, 8, 8), VAE.Options(hidden=(4,), latent_dim=2))
    folder = saved_checkpoint(tmp_path / "checkpoint", model)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["training.safetensors"]
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    with pytest.raises(package.errors.CheckpointError, match=r"doesn't name training\.safetensors"):
        package.load(folder)


def test_images_are_for_comparing_only(genkit: Genkit, runs: Path) -> None:
    outcome = genkit("export", run_of(runs, "vae"), "--dataset", "faces")
    assert outcome.code == 2
    assert "--dataset goes with --format onnx or pt2" in outcome.err
