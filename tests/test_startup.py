"""What a person asks for without a model being needed comes without torch, and is as right as with it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import Genkit, saved_checkpoint, small_model
from fresh import Ended, Forks

from genkit import cli, registry
from genkit.contract import ImageShape
from genkit.keep import checkpoint, description
from genkit.keep.rundir import RunDirectory
from genkit.nets.priors import fitted_mixture

FIXTURES = Path(__file__).parent / "fixtures" / "0.1.0"
#: Long enough ago that a file counts as settled.
LONG_AGO = 1_500_000_000
every_model = pytest.mark.parametrize("name", list(registry.names()))


Fresh = Callable[..., Ended]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture
def fresh(forks: Forks, tmp_path: Path) -> Fresh:
    """Run a command in a process that has imported nothing yet, whose cache is the test's own."""
    (tmp_path / "here").mkdir()

    def run(*arguments: object, cwd: Path = tmp_path / "here", **variables: str) -> Ended:
        given = os.environ | {"GENKIT_DATA": str(tmp_path / "cache"), "XDG_CACHE_HOME": str(tmp_path / "home")}
        return forks.run([str(each) for each in arguments], cwd, given | variables)

    return run


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "flags").glob("*"))


def words(text: str) -> str:
    """However it is wrapped."""
    return " ".join(text.split())


# What needs no model


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        *((f"{command} nowhere", 2, "there is no run or checkpoint at nowhere")
          for command in ("sample", "embed", "evaluate", "explore", "export", "report", "info")),
        ("evaluate RUN nowhere", 2, "there is no run or checkpoint at nowhere"),
        ("train --resume nowhere", 2, "there is no run or checkpoint at nowhere"),
        ("train --init-from nowhere", 2, "there is no run or checkpoint at nowhere"),
        ("train --config nowhere", 2, "can't read nowhere"),
        ("train nomodel", 2, "no model is called"),
        ("sample --seeds abc", 2, "'abc' is no list of numbers; write it like 0-7,12"),
        ("sample --sedes 1", 2, "No such option '--sedes'"),
        ("sample --interpolate --traverse", 2, "ask for one at a time"),
        ("evaluate --only nothing", 2, "no topic is called 'nothing'"),
        ("export RUN --dataset nowhere", 2, "--dataset goes with --format onnx or pt2"),
        ("report --out page.txt", 2, "give one that ends in .html"),
        *((f"{command} RUN --dataset nowhere", 2, "nowhere: no such file or folder, and no such set")
          for command in ("sample --reconstruct", "embed", "evaluate", "explore", "export --format onnx")),
        ("reproduce nowhere", 2, "nowhere"),
        ("data list", 0, ""),
        ("data fetch nowhere", 2, "there is no such set to fetch"),
        ("data verify nowhere", 2, "no such file or folder, and no such set"),
        ("data info nowhere", 2, "no such file or folder, and no such set"),
        ("data info mnist --out sheet.jpg", 2, "the sheet is written as PNG"),
        ("data convert nowhere out.npz", 2, "no such file or folder, and no such set"),
        ("data convert mnist out.csv", 2, "images are written as .npz, as .parquet, or as a folder"),
        ("data convert mnist out.npz --white-level x", 2, "--white-level give `auto`"),
        ("data nothing", 2, "No such command 'nothing'"),
    ],
)  # fmt: skip
def test_what_needs_no_model_imports_no_torch(fresh: Fresh, arguments: str, code: int, says: str) -> None:
    run = FIXTURES / "runs" / "00000-vae-mnist5k"
    ended = fresh(*(run if each == "RUN" else each for each in arguments.split()))
    assert ended.code == code, ended.err
    assert says in ended.err
    assert not ended.torch


@every_model
def test_info_of_a_checkpoint_imports_no_torch_and_counts_its_weights(fresh: Fresh, tmp_path: Path, name: str) -> None:
    """Those that training moves, and not what else a file holds: running means, a fitted prior."""
    model = small_model(name, ImageShape(1, 8, 8), ema=0.5)
    path = saved_checkpoint(tmp_path / "000002", model)
    ended = fresh("info", path, "--json")
    assert ended.code == 0, ended.err
    assert not ended.torch
    found = json.loads(ended.out)
    assert found["weights"] == sum(each.numel() for each in model.parameters())
    assert found["image"] == {"channels": 1, "height": 8, "width": 8}
    assert "1×8×8" in fresh("info", path).out


@pytest.mark.parametrize("path", [*sorted((FIXTURES / "runs").iterdir()), FIXTURES / "exported-ae"], ids=str)
def test_the_weights_of_an_older_checkpoint_are_counted_by_building_it(genkit: Genkit, path: Path) -> None:
    found = genkit("info", path, "--json").json
    model = checkpoint.read(Path(found["checkpoint"])).model
    assert found["weights"] == sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize("name", description.FILES)
def test_info_checks_every_byte(genkit: Genkit, tmp_path: Path, name: str) -> None:
    run = RunDirectory(tmp_path / "00000-vae-few")
    for step in (1, 2):
        checkpoint.add_prior(saved_checkpoint_of(run, step), fitted_mixture(torch.randn(9, 2), 1))
    file = run.checkpoint_path(2) / name
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    outcome = genkit("info", run.path)
    assert outcome.code == 1
    assert f"checkpoint  {run.checkpoint_path(1)} (whole" in outcome.out
    assert f"damaged     {file} is damaged" in outcome.out
    assert genkit("info", run.path, "--json").json["damaged"] == ["000002"]
    alone = genkit("info", run.checkpoint_path(2))
    assert (alone.code, alone.out) == (1, "")
    assert "is damaged: its SHA-256 isn't the manifest's" in alone.err


def saved_checkpoint_of(run: RunDirectory, step: int) -> Path:
    """Of a run whose last checkpoint is its best."""
    (run.path / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run.path / "config.json").write_text("{}")
    model = small_model("vae", ImageShape(1, 8, 8), hidden=(4,), latent_dim=2, ema=0.5)
    return saved_checkpoint(run.checkpoint_path(step), model, monitor="loss", metrics={"val/loss": -step})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "nobody"}, "no model is called 'nobody'"),
        ({"weights": 10**9}, "1,000,000,000 weights are described"),
    ],
)
def test_info_refuses_what_a_checkpoint_cannot_be(genkit: Genkit, tmp_path: Path, change: dict, says: str) -> None:
    """Though all its hashes are right."""
    model = small_model("vae", ImageShape(1, 8, 8), hidden=(4,), latent_dim=2)
    path = saved_checkpoint(tmp_path / "000002", model)
    contents = {each.name: each.read_bytes() for each in path.iterdir() if each.name in description.FILES}
    contents["checkpoint.json"] = description.to_json(json.loads(contents["checkpoint.json"]) | change)
    rewrite(path, contents)
    outcome = genkit("info", path)
    assert (outcome.code, outcome.out) == (1, "")
    assert says in outcome.err
    rewrite(path, contents | {"model.safetensors": b"no tensors"})
    assert "is no checkpoint that this genkit can open" in genkit("info", path).err


def rewrite(path: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (path / name).write_bytes(content)
    (path / "manifest.json").write_bytes(description.manifest_of(contents))


# What needs a model's flags


@every_model
def test_flags_are_kept_by_the_first_command_and_are_the_same_for_the_next(fresh: Fresh, name: str) -> None:
    first, second = fresh("train", name, "--help"), fresh("train", name, "--help")
    assert (first.code, second.code) == (0, 0), second.err
    assert (first.torch, second.torch) == (True, False)
    assert second.out == first.out
    for arguments, says in (
        (["--help"], ""),
        (["--lr", "abc"], "'--lr': 'abc' is not a valid float"),
        (["--lr", "11"], "11.0 is not in the range 0<x<=10."),
        (["--epochs", "0"], "0 is not in the range 1<=x<=100000."),
        (["--lr-warmpu", "1"], "Did you mean"),
        (["--schedule", "x"], "'x' is not one of 'constant', 'cosine'."),
        (["--dataset", "nowhere"], "nowhere: no such file or folder, and no such set"),
        (["--resume", "nowhere"], "there is no run or checkpoint at nowhere"),
        (["--init-from", "nowhere"], "there is no run or checkpoint at nowhere"),
        (["--checkpoint-every", "x"], "--checkpoint-every give epochs"),
    ):
        ended = fresh("train", name, *arguments)
        assert (ended.code, ended.torch) == (2 if says else 0, False), ended.err
        assert says in ended.err


def test_an_option_that_needs_another_is_refused_without_torch(fresh: Fresh) -> None:
    fresh("train", "classifier", "--help")
    ended = fresh("train", "classifier", "--from-scratch")
    assert (ended.code, ended.torch) == (2, False)
    assert "--from-scratch says nothing without --init-from" in ended.err


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, with a model `mine` that was written long ago."""
    shutil.copytree(Path(cli.__file__).parents[1], tmp_path / "here" / "genkit", dirs_exist_ok=True)
    models = tmp_path / "here" / "genkit" / "models"
    write(models / "mine.py", (models / "ae.py").read_text().replace("(1000, 500, 250)", "(64,)"))
    return tmp_path / "here" / "genkit"


def write(path: Path, text: str, changed: int = LONG_AGO) -> None:
    path.write_text(text, encoding="utf-8")
    os.utime(path, (changed, changed))


def test_what_is_kept_of_a_model_that_has_changed_is_not_used(fresh: Fresh, tmp_path: Path, package: Path) -> None:
    def shown() -> Ended:
        return fresh("train", "mine", "--help", PYTHONDONTWRITEBYTECODE="1")  # Python's own cache goes by time and size

    mine, shared = package / "models" / "mine.py", package / "models" / "_autoencoder.py"
    assert "[default: 64]" in words(shown().out)
    assert not shown().torch
    option = "        extra: Annotated[bool, Field(description='New.')] = True\n"
    for file, before, after, changed, says in (
        (mine, "(64,)", "(48,)", LONG_AGO, "[default: 48]"),  # of the same size and time
        (mine, '    ] = "torch"\n', f'    ] = "torch"\n{option}', LONG_AGO + 1, "New. [default: True]"),
        (shared, "LatentDim = 30", "LatentDim = 31", LONG_AGO, "[default: 31; "),  # imported by it
        (package / "contract" / "options.py", "= 1e-3", "= 2e-3", LONG_AGO, "[default: 0.002; "),
        (package / "options.py", '"metavar": "X"', '"metavar": "Y"', LONG_AGO, "--lr Y Peak"),
    ):
        text = file.read_text(encoding="utf-8")
        assert before in text
        write(file, text.replace(before, after), changed)
        ended = shown()
        assert ended.torch, file
        assert says in words(ended.out)
        assert shown() == ended._replace(torch=False)
    assert len(kept(tmp_path)) == 1, "each in place of the one before"


def test_the_flags_of_a_model_from_outside_are_kept_too(fresh: Fresh, tmp_path: Path) -> None:
    here, ours = tmp_path / "here", Path(cli.__file__).parents[1] / "models"
    text = (ours / "ae.py").read_text().replace("genkit.models._autoencoder", "._shared")
    write(here / "mine.py", text)
    write(here / "_shared.py", (ours / "_autoencoder.py").read_text())
    for arguments, variables in (
        (["./mine.py"], {}),
        (["mine"], {"GENKIT_MODELS": str(here)}),
    ):
        write(here / "_shared.py", (here / "_shared.py").read_text().replace("LatentDim = 31", "LatentDim = 30"))
        first = fresh("train", *arguments, "--help", **variables)
        assert "[default: 30; " in words(first.out), first.err
        again = fresh("train", *arguments, "--help", **variables)
        assert (again.torch, again.out) == (False, first.out)
        refused = fresh("train", *arguments, "--latent-dim", "0", **variables)
        assert (refused.code, refused.torch) == (2, True), "the model is asked before it is refused"
        nowhere = fresh("train", *arguments, "--dataset", "nowhere", **variables)
        assert (nowhere.code, nowhere.torch) == (2, False)
        changed = (here / "_shared.py").read_text().replace("LatentDim = 30", "LatentDim = 31")
        write(here / "_shared.py", changed, LONG_AGO + 1)
        assert "[default: 31; " in words(fresh("train", *arguments, "--help", **variables).out)


def test_a_model_from_outside_is_asked_before_its_value_is_refused(fresh: Fresh, tmp_path: Path) -> None:
    """What decides its flags may be a file that Python doesn't load, or a variable."""
    here = tmp_path / "here"
    text = (Path(cli.__file__).parents[1] / "models" / "ae.py").read_text()
    options = (
        "        kind: Literal[tuple(json.loads(Path(__file__).with_name('kinds.json').read_text()))] = 'one'\n"
        "        size: Annotated[int, Field(le=int(os.environ.get('MOST', 1)))] = 1\n"
        "        extra: Annotated[bool, Field(description='One\\nand another.', json_schema_extra=NEEDS)] = False\n"
    )
    text = text.replace('    ] = "torch"\n', f'    ] = "torch"\n{options}')
    needs = "NEEDS = {'needs': 'kind'} if 'NEEDS' in os.environ else {}"
    imports = f"import json\nimport os\nfrom pathlib import Path\nfrom typing import Literal\n{needs}\n"
    write(here / "mine.py", text.replace("from typing import", f"{imports}from typing import", 1))
    for arguments, variables in ((["--kind", "three"], {}), (["--size", "7"], {"MOST": "9"}), (["--extra"], {})):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        write(here / "kinds.json", '["one", "two"]')
        first = fresh("train", "./mine.py", "--help", NEEDS="1")
        assert "One and another." in words(first.out), first.err
        assert fresh("train", "./mine.py", "--help") == first._replace(torch=False)
        write(here / "kinds.json", '["one", "three"]')
        ended = fresh("train", "./mine.py", *arguments, "--dry-run", **variables)
        assert ended.code == 0, ended.err
    refused = fresh("train", "./mine.py", "--kind", "four")
    assert refused.code == 2
    assert "'four' is not one of 'one', 'three'" in refused.err


def test_of_what_is_kept_of_a_model_the_oldest_goes(fresh: Fresh, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "flags"
    folder.mkdir(parents=True)
    others = [folder / "ae-notes.json", folder / f"ae-two-{1:016x}.json"]
    for number, path in enumerate([*others, *(folder / f"ae-{number:016x}.json" for number in range(20))]):
        write(path, "{}", LONG_AGO + number)
    assert fresh("train", "ae", "--help").code == 0
    left = {each.name for each in kept(tmp_path)} - {each.name for each in others}
    assert len(left) == 8
    assert left >= {f"ae-{number:016x}.json" for number in range(13, 20)}
    assert all(each.exists() for each in others)
    assert not fresh("train", "ae", "--help").torch


def test_a_model_that_breaks_is_told_of_though_its_flags_are_kept(fresh: Fresh, package: Path) -> None:
    fresh("train", "mine", "--help")
    mine = package / "models" / "mine.py"
    write(mine, mine.read_text().replace("from torch import", "from torch import nothing,"))
    ended = fresh("train", "mine", "--help")
    assert ended.code == 2
    assert "models/mine.py can't be loaded" in ended.err


def test_of_a_file_that_has_only_just_changed_nothing_is_kept(fresh: Fresh, tmp_path: Path, package: Path) -> None:
    """It may change again without its time telling so."""
    (package / "models" / "_autoencoder.py").touch()
    assert fresh("train", "mine", "--help").torch
    assert not kept(tmp_path)
    assert fresh("train", "mine", "--help").torch


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "null",
        "[]",
        "[" * 100_000,
        "{}",
        '{"model": "", "files": {}, "flags": []}',
        "\0",
        "cut",
        "large",
        "help",
    ],
    ids=lambda content: content[:10].encode().hex(),
)
def test_a_kept_file_that_is_none_is_ignored_and_replaced(fresh: Fresh, tmp_path: Path, content: str) -> None:
    whole = fresh("train", "vae", "--help").out
    (path,) = kept(tmp_path)
    right = path.read_text()
    damaged = {
        "cut": right[:-2],
        "large": right + " " * (4 << 20),
        "help": right.replace("Passes over", "\\u001b[31mPasses over"),
    }.get(content, content)
    path.write_text(damaged)
    ended = fresh("train", "vae", "--help")
    assert (ended.code, ended.out, ended.torch) == (0, whole, True)
    assert json.loads(path.read_text())["flags"] == json.loads(right)["flags"]
    assert not fresh("train", "vae", "--help").torch


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_what_lies_in_its_place_and_is_no_file_is_not_read(fresh: Fresh, tmp_path: Path, kind: str) -> None:
    whole = fresh("train", "vae", "--help").out
    (path,) = kept(tmp_path)
    path.rename(tmp_path / "elsewhere")
    make = {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "link": lambda: path.symlink_to("/dev/zero")}
    make[kind]()
    ended = fresh("train", "vae", "--help")
    assert (ended.code, ended.out, ended.torch) == (0, whole, True)


def test_a_folder_that_cannot_be_written_does_not_matter(fresh: Fresh, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nowhere = {"GENKIT_DATA": str(tmp_path / "file" / "data"), "XDG_CACHE_HOME": str(tmp_path / "file")}
    ended = fresh("train", "vae", "--help", **nowhere)
    assert (ended.code, ended.err) == (0, "")
    assert "--kl-warmup" in ended.out
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "flags").write_text("a file")
    assert fresh("train", "vae", "--help").out == ended.out


def test_what_is_kept_decides_nothing_but_what_is_shown(fresh: Fresh, tmp_path: Path) -> None:
    """Whoever changes it lets no value through that the model's own class refuses."""
    fresh("train", "vae", "--help")
    (path,) = kept(tmp_path)
    changed = json.loads(path.read_text())
    for flag in changed["flags"]:
        if flag["name"] == "lr":
            flag |= {"max": 99, "default": "a million"}
    path.write_text(json.dumps(changed))
    shown = fresh("train", "vae", "--help")
    assert (shown.torch, "[default: a million;" in words(shown.out)) == (False, True)
    refused = fresh("train", "vae", "--lr", "50", "--dry-run")
    assert refused.code == 2
    assert refused.err == "genkit: --lr must be at most 10 (got 50.0)"
    assert json.loads(fresh("train", "vae", "--dry-run", "--json").out)["options"]["lr"] == 0.004
