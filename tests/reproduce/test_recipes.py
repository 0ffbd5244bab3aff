"""Recipes: those that are here are sound, and a wrong one is refused in one line before anything is trained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Genkit

from genkit.errors import UsageError
from genkit.reproduce import recipe, results, soundness
from genkit.reproduce.recipe import Claim, Recipe
from genkit.run import trainer

SOUND = """
shows = "Something."
paper = "Somebody, Something (2006)"
minutes = 1
dataset = "mnist5k"
epochs = 3

[runs.net]
model = "ae"
hidden = []
sweep.latent-dim = [2, 4]
sweep.seed = [0, 1]

[[measure]]
name = "squared-error"
runs = ["net"]

[[report]]
what = "error"
figure = "net/latent-dim=2,seed=1: squared_error"
below = 3

[quick]
epochs = 1
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "own.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", recipe.paths())
def test_every_recipe_here_is_sound(name: str, quick: bool) -> None:
    """Its options are options, and every row is of a run that there is."""
    made = Recipe(recipe.find(name), quick)
    soundness.check(made)
    for row in made.contents.report if not quick else ():
        for figure in (row.figure, row.below, row.above):
            if isinstance(figure, str) and ": " in figure:
                assert figure.partition(": ")[0] in made.runs


def test_list_names_every_recipe_without_torch(genkit: Genkit) -> None:
    listed = genkit("reproduce", "--list", "--json").json["recipes"]
    assert {"linear-ae", "hinton-2006", "hinton-2006-2d"} <= listed.keys() == recipe.paths().keys()
    program = (
        "import sys; from genkit.cli.reproduce import show_list; show_list(True); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_a_sweep_is_a_run_for_each_combination(written) -> None:
    runs = Recipe(written(SOUND)).runs
    assert [(run.options.latent_dim, run.run.seed) for run in runs.values()] == [(2, 0), (2, 1), (4, 0), (4, 1)]
    assert list(runs)[1] == "net/latent-dim=2,seed=1"
    assert {run.options.epochs for run in runs.values()} == {3}
    assert {run.options.epochs for run in Recipe(written(SOUND), quick=True).runs.values()} == {1}


PICTURE = "[[picture]]\nname = "
#: A key that takes a reader of TOML N^2 steps and bytes.
DOTS = b".".join([b"a"] * 20_000) + b" = 1"
DEEP = 'sweep.hidden = [[], [8]]\n[[measure]]\nname = "linear-subspace"'
CURVE = 'runs = ["net"]\nover = "latent-dim"\nfigure = "squared_error"\n[[report]]'


@pytest.mark.parametrize(
    ("sound", "broken", "said"),
    [
        # What the file is made of.
        ("[runs.net]", "[runs.net", "can't be read as a recipe"),
        ("minutes = 1", "", "'minutes' is missing"),
        ("minutes = 1", "minuts = 1", "'minutes' is missing; there is a 'minuts'"),
        ("minutes = 1", "minutes = 0", "'minutes' must be above 0"),
        ("minutes = 1", "minutes = 1\nshow = 'codes'", "no picture is called 'codes'"),
        (
            'dataset = "mnist5k"',
            'datset = "mnist5k"',
            "neither a key of a recipe nor an option of its runs; did you mean",
        ),
        ("[[measure]]", "[[mesure]]", "'mesure' is neither a key"),
        ("[[measure]]", "[measure]", "'measure' must be a list"),
        ('name = "squared-error"', 'nam = "squared-error"', "measure 1: 'name' is missing; there is a 'nam'"),
        ("below = 3", "belo = 3", "report 1: 'belo' means nothing here; did you mean 'below'?"),
        ("below = 3", "below = [3]", "report 1: 'below' must be a number or a figure's name"),
        ("below = 3", "near = 3", "report 1: near = … and within = … go together"),
        ("below = 3", "below = 3\ntimes = 2", "multiplies another figure"),
        # Options of its runs.
        ("epochs = 3", "epoch = 3", "did you mean 'epochs'"),
        ("epochs = 3", "epochs = 0", "the run net/latent-dim=2,seed=0: epochs must be at least 1 (got 0)"),
        ("[quick]\nepochs = 1", "[quick]\nepochs = 0", "the quick run net/latent-dim=2,seed=0: epochs must be"),
        ("[quick]", "[quick]\nruns.nett.epochs = 1", "no run is called 'nett'; did you mean 'net'?"),
        ('model = "ae"', 'model = "ea"', "there are adda, ae"),
        ('model = "ae"', "", "has no model; there are adda, ae"),
        ('model = "ae"', 'model = ["ae"]', "there are adda, ae"),
        ("hidden = []", 'init-from = "other"', "names no run"),
        ("sweep.seed = [0, 1]", "sweep.seed = 1", "the run net: sweep.KEY is a list of an option's values"),
        ("sweep.seed = [0, 1]", "sweep.seed = [0, 0]", "each once"),
        # Steps, and their words.
        ('name = "squared-error"', 'name = "squared-eror"', "did you mean 'squared-error'"),
        ('name = "squared-error"', 'name = "squared-error"\nk = 5', "the measure squared-error knows no 'k'"),
        ('name = "squared-error"', 'name = "knn"\nk = "many"', "k must be a whole number (got 'many')"),
        ('name = "squared-error"', 'name = "knn"\nk = "5"', "k must be a whole number (got '5')"),
        ('name = "squared-error"', 'name = "knn"\nquick.k = 0', "k must be at least 1"),
        ('name = "squared-error"', 'name = "arithmetic"\nlabel = "l"', "lacks 'expression'"),
        ('runs = ["net"]', 'runs = ["nets"]', "no run is called 'nets'"),
        ('runs = ["net"]', "runs = 5", "measure 1: 'runs' must be a list"),
        ("[[report]]", f'{PICTURE}"reconstructions"\nfile = "../up"\n[[report]]', "a plain name"),
        ("[[report]]", f'{PICTURE}"samples"\n{PICTURE}"samples"\n[[report]]', "two pictures"),
        (
            "[[report]]",
            f'{PICTURE}"samples"\nrun = "net"\n[[report]]',
            "is several; name one of net/latent-dim=2,seed=0",
        ),
        ("[[report]]", f'{PICTURE}"curve"\n{CURVE.replace("-dim", "-dm")}', "has no option 'latent-dm'"),
        ("[[report]]", f'{PICTURE}"curve"\n{CURVE.replace("latent-dim", "hidden")}', "drawn over numbers"),
        ("[[report]]", f'{PICTURE}"curve"\n{CURVE.replace("squared", "cubed")}', "nothing measures"),
        ("[[report]]", '[[measure]]\nname = "mean-over"\n' + CURVE.replace("squared", "cubed"), "nothing measures"),
        # What a run can't do.
        ('name = "squared-error"', 'name = "likelihood"', "seed=0 is of the model ae, which doesn't say how likely"),
        ('name = "squared-error"', 'name = "test-error"', "no answers that could be wrong"),
        ('sweep.seed = [0, 1]\n\n[[measure]]\nname = "squared-error"', DEEP, "isn't linear"),
        ("[[report]]", f'{PICTURE}"manifold"\nrun = "net/latent-dim=4,seed=1"\n[[report]]', "has a code of 4 numbers"),
        # Rows.
        (": squared_error", ": squared_eror", "did you mean 'squared_error'?"),
        ("seed=1: ", "seed=7: ", "the row 'error': nothing measures"),
        ("below = 3", 'below = "squared_error"', "nothing measures 'squared_error'"),
        (
            'name = "squared-error"',
            'name = "training-error"',
            "nothing measures 'net/latent-dim=2,seed=1: squared_error'",
        ),
    ],
)
def test_a_broken_recipe_is_refused_in_one_line(
    written, genkit: Genkit, sound: str, broken: str, said: str, tmp_path: Path
) -> None:
    """A full run tells what is wrong of a quick one too."""
    assert sound in SOUND
    outcome = genkit(
        "reproduce", written(SOUND.replace(sound, broken, 1)), "--out", tmp_path / "runs", "--results", tmp_path
    )
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert not any(words in outcome.err for words in ("Input should", "Field required", "not permitted"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"minutes = 1\x00", b"a = " + b"[" * 5000, b"a = " + b"9" * 5000, b"# " + b"a" * 70_000, DOTS],
    ids=["no UTF-8", "NUL", "nested", "digits", "large", "dots"],
)
def test_a_damaged_recipe_is_refused_in_one_line(genkit: Genkit, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(content)
    outcome = genkit("reproduce", path, "-n")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert outcome.err.startswith(f"genkit: {path} can't be read as a recipe: ")


def test_a_recipe_is_a_file(genkit: Genkit, tmp_path: Path) -> None:
    """No folder, no pipe that nobody writes to, and no link that leads anywhere."""
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "link.toml").symlink_to("/dev/zero")
    for name in ("folder", "pipe", "link"):
        outcome = genkit("reproduce", tmp_path / f"{name}.toml", "-n")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err


@pytest.mark.parametrize(
    ("sound", "broken", "said"),
    [
        ('name = "squared-error"\n', 'name = "losses"\n', None),
        ('name = "squared-error"\n', 'name = "losses"\n[[measure]]\nname = "watch"\n', None),
        (
            ": squared_error",
            ": kl",
            "nothing measures 'net/latent-dim=2,seed=1: kl'; of net/latent-dim=2,seed=1 there are loss, sq",
        ),
        ('dataset = "mnist5k"', 'dataset = "{array}"', "array.npy has no classes"),
        (
            "[[report]]",
            '[[measure]]\nname = "arithmetic"\nlabel = "l"\nexpression = "cat - dog + dog"\n[[report]]',
            "the measure arithmetic: mnist5k has no attribute 'cat'",
        ),
    ],
)
def test_what_only_the_images_tell_is_refused_before_training_too(
    written, genkit: Genkit, sound: str, broken: str, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `losses`, whose names the model knows, and `knn`, which needs labels."""
    np.save(tmp_path / "array.npy", np.random.default_rng(0).integers(0, 256, (64, 8, 8), dtype=np.uint8))
    text = SOUND.replace('name = "squared-error"\n', 'name = "losses"\n[[measure]]\nname = "knn"\n')
    broken = broken.replace("{array}", str(tmp_path / "array.npy"))
    path = written(text.replace(sound, broken, 1) if said else SOUND.replace(sound, broken, 1))
    monkeypatch.setattr(trainer, "start", lambda *_: pytest.fail("it is trained") if said else sys.exit(77))
    outcome = genkit("reproduce", path, "--out", tmp_path / "runs", "--results", tmp_path / "results")
    assert outcome.code == (2 if said else 77), outcome.err
    assert (said or "") in outcome.err


def test_an_unknown_name_is_answered_with_the_nearest(genkit: Genkit) -> None:
    outcome = genkit("reproduce", "linear-ea")
    assert (outcome.code, "did you mean 'linear-ae'" in outcome.err) == (2, True)
    assert genkit("reproduce").code == genkit("reproduce", "linear-ae", "--list").code == 2


def test_a_path_needs_no_ending_and_says_what_is_there(
    written, genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(SOUND)
    assert recipe.find(str(path.with_suffix(""))) == recipe.find(str(path)) == path
    monkeypatch.chdir(tmp_path)
    assert recipe.find("./own") == Path("own.toml")
    assert "write ./own.toml" in genkit("reproduce", "own").err
    for wrong, said in (
        ("./onw", "did you mean 'own'?"),
        ("./xyz.toml", "there are own"),
        ("gone/x", "none lies in"),
    ):
        outcome = genkit("reproduce", wrong)
        assert (outcome.code, said in outcome.err, outcome.err.count("\n")) == (2, True, 1), outcome.err


def test_a_recipe_of_ones_own_does_not_take_a_record_that_is_not_its(genkit: Genkit, tmp_path: Path) -> None:
    shipped = recipe.find("linear-ae").read_bytes()
    own = tmp_path / "linear-ae.toml"
    own.write_bytes(shipped)
    assert Recipe(own).name == "linear-ae"  # the same recipe, wherever it lies
    own.write_bytes(shipped + b"\n# mine\n")
    (tmp_path / "linear-ae-quick.toml").write_text(SOUND)
    (tmp_path / "my recipe.toml").write_text(SOUND)
    for name, said in (
        ("linear-ae", "comes with genkit"),
        ("linear-ae-quick", "-quick"),
        ("my recipe", "letters, digits"),
    ):
        outcome = genkit("reproduce", tmp_path / name, "-n")
        assert (outcome.code, said in outcome.err) == (2, True), outcome.err


def test_dry_run_says_what_would_be_done_and_does_nothing(written, genkit: Genkit, tmp_path: Path) -> None:
    outcome = genkit(
        "reproduce", written(SOUND), "-n", "--json", "--out", tmp_path / "runs", "--results", tmp_path / "r"
    )
    assert [each["todo"] for each in outcome.json["runs"].values()] == ["train"] * 4
    assert outcome.json["missing"] == []
    assert [each.name for each in tmp_path.iterdir()] == ["own.toml"]
    lines = genkit("reproduce", written(SOUND), "-n", "--out", tmp_path / "runs").out.splitlines()
    told = "ae --dataset mnist5k --epochs 3 --hidden none"
    assert f"train     net, 4 runs: {told}, of latent-dim 2, 4; seed 0, 1" in lines


def test_dry_run_says_which_images_are_missing(
    written, genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fetches nothing; where a real run couldn't either, it fails as that would."""
    for source in ("mnist", "cifar10"):
        path = written(SOUND.replace("mnist5k", source))
        offline = genkit("reproduce", path, "-n", "--out", tmp_path / "runs")
        assert offline.code == 1
        assert [line for line in offline.out.splitlines() if line.startswith("missing")]
        assert "GENKIT_OFFLINE is set" in offline.out
        with monkeypatch.context() as online:
            online.delenv("GENKIT_OFFLINE")
            outcome = genkit("reproduce", path, "-n", "--json", "--out", tmp_path / "runs")
        assert (outcome.code, [each["fetched"] for each in outcome.json["missing"]]) == (0, [True])
        assert not list(Path(os.environ["GENKIT_DATA"]).glob(f"{source}*"))
    gone = genkit("reproduce", written(SOUND.replace("mnist5k", "/gone")), "-n")
    assert (gone.code, "missing   /gone: no such file" in gone.out) == (1, True)


def test_criteria() -> None:
    values = {"a": 2.0, "b": 1.0}
    row = {"what": "w", "figure": "a"}
    assert Claim(**row).met(values) is None
    assert Claim(**row, below=2.0).met(values) is False  # below is below
    assert Claim(**row, above=2.0).met(values) is True  # and at least is at least
    assert Claim(**row, above="b", times=2).met(values) is True
    assert Claim(**row, above="b", times=2.1).met(values) is False
    assert Claim(**row, near=2.5, within=0.5).met(values) is True
    assert Claim(**row, near=2.6, within=0.5).met(values) is False
    assert Claim(**row, below="gone").met(values) is False
    assert Claim(what="w", figure="gone", above=0).met(values) is False


def test_a_path_is_a_recipe_too(written) -> None:
    assert recipe.find(str(written(SOUND))).name == "own.toml"
    with pytest.raises(UsageError, match="there is no recipe at nowhere"):
        recipe.find("nowhere.toml")


def test_the_table_here_is_what_its_records_say() -> None:
    """No row is typed by hand, and none is of a quick run."""
    found = results.records(recipe.folder())
    text = (recipe.folder() / "README.md").read_text(encoding="utf-8")
    pictures = {each.stem for each in (recipe.folder() / "pictures").glob("*.png")}
    table = text.partition(results.START)[2].partition(results.END)[0].strip()
    assert table == results.table(found, pictures)
    assert not any(record.quick for record in found)
