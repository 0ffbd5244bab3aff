"""The models: those that come with genkit, and those from outside. Each is known by its name before any of it is run.

They lie, and of several of one name the first is meant,

1. in genkit/models: `conv_ae.py` is `conv-ae` on the command line;
2. at a path that was typed: `genkit train ./my_model.py`;
3. in the folders of the variable GENKIT_MODELS, in files that are named as ours are;
4. in installed packages, as entry points of the group `genkit.models`: the model's name, and its module.

They are listed without running anything of them and without torch. What a run or a checkpoint says of its model is a
name that is looked for here, and nothing more: no path in it is opened, and no module in it imported.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, all_suffixes
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from genkit.errors import ModelError, UsageError, in_one_line
from genkit.files import expanded
from genkit.version import __version__
from genkit.wording import nearest

if TYPE_CHECKING:
    from importlib.metadata import Distribution

    from genkit.contract import Model

logger = logging.getLogger("genkit")

GROUP, VARIABLE = "genkit.models", "GENKIT_MODELS"
OURS = Path(__file__).parent / "models"
NAME = re.compile("[A-Za-z][A-Za-z0-9_-]{0,63}")
#: A folder of models is imported as a package of such a name, which nothing else has.
FOLDER = "genkit_models_"


# ---------------------------------------------------------------------------------------------------------------------
# Who a model is of
# ---------------------------------------------------------------------------------------------------------------------


#: Who a model is of is read from checkpoints, too, which anybody may have written: no key more, and nothing but names.
STRICT: Any = {"extra": "forbid"}


def require_form(form: str, *texts: str) -> None:
    """Raises ValueError where one of them isn't all of this form."""
    for text in texts:
        if not re.fullmatch(form, text):
            raise ValueError(f"{ascii(text)[:80]} is no name of a model's package or file, and no version or hash")


def in_form(text: str) -> str:
    """A package's name or version as it may be shown, of whatever it was called."""
    return re.sub("[^A-Za-z0-9._+!-]+|^[^A-Za-z0-9]+", "-", text).lstrip("._+!-")[:100] or "unknown"


@dataclass(frozen=True)
class Package:
    """Whoever brings a model along with an installation: genkit itself, or another package."""

    __pydantic_config__: ClassVar[Any] = STRICT

    package: str
    version: str

    def __post_init__(self) -> None:
        require_form("[A-Za-z0-9][A-Za-z0-9._+!-]{0,99}", self.package, self.version)

    @property
    def is_genkit(self) -> bool:
        return self.package == "genkit"

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


@dataclass(frozen=True)
class File:
    """A model's file that no package brings along: what it is called, and the SHA-256 of what it held."""

    __pydantic_config__: ClassVar[Any] = STRICT

    file: str
    sha256: str

    def __post_init__(self) -> None:
        require_form("[A-Za-z][A-Za-z0-9_]{0,63}[.]py", self.file)
        require_form("[0-9a-f]{64}", self.sha256)

    @property
    def is_genkit(self) -> bool:
        return False

    def __str__(self) -> str:
        return self.file


Provider = Package | File
GENKIT = Package("genkit", __version__)


class Offer(NamedTuple):
    """A model that was found, and has not been imported.

    Attributes:
        name: on the command line.
        module: by which it is imported.
        file: in which it lies; None where only its import would say that.
        package: that brings it along; None of a file.
        problem: why it can't be meant; "" where it can.
    """

    name: str
    module: str
    file: Path | None
    package: Package | None
    problem: str = ""

    @property
    def whose(self) -> str:
        """In words: the package with its version, or the file's path."""
        return str(self.package or self.file)


class Loaded(NamedTuple):
    """A model that was imported, from what, and of whom: of a file, with the hash of what was imported."""

    offer: Offer
    kind: type[Model]
    provider: Provider

    @property
    def name(self) -> str:
        return self.offer.name


_typed: dict[str, Offer] = {}
_loaded: dict[str, Loaded] = {}  # by module
_meant: dict[str, tuple[object, Loaded]] = {}  # by name: what it was searched by, and what it has meant since
_said: set[str] = set()


# ---------------------------------------------------------------------------------------------------------------------
# Find
# ---------------------------------------------------------------------------------------------------------------------


def names() -> dict[str, str]:
    """Every model's name and the first line of its docstring; of one that can't be loaded, the reason in brackets."""
    return {name: help_of(meant) for name, (meant, *_) in offers().items()}


def offers() -> dict[str, list[Offer]]:
    """Every name with all that was found under it, what is meant by it first."""
    found: dict[str, list[Offer]] = {}
    files = set()
    for offer in (*in_folder(OURS), *_typed.values(), *in_variable(), *in_packages()):
        if offer.package is None and offer.file is not None:
            place = offer.file.resolve()
            if place in files:  # typed, and in a folder of the variable
                continue
            files.add(place)
        found.setdefault(offer.name, []).append(offer)
    for name, every in found.items():
        fit, unfit = [each for each in every if not each.problem], [each for each in every if each.problem]
        if len(fit) > 1 and fit[0].package not in (None, GENKIT):
            both = " and of ".join(sorted(each.whose for each in fit))
            problem = f"several packages have a model of this name, {both}; uninstall all but one"
            fit = [each._replace(problem=problem) for each in fit]
        found[name] = fit + unfit
    return found


def in_folder(folder: Path) -> Iterator[Offer]:
    """The models of a folder's files, but for those that begin with an underscore."""
    for path in sorted(folder.glob("[!_]*.py")):
        if path.is_file():
            yield of_file(path)


def of_file(path: Path) -> Offer:
    """The model of a file, be there one in it or not."""
    name = path.stem.replace("_", "-")
    if path.parent == OURS:
        return Offer(name, f"genkit.models.{path.stem}", path, GENKIT)
    unfit = not (NAME.fullmatch(name) and path.stem.isidentifier())
    problem = f"rename it, for {path.stem!a} is no name of a Python module, such as my_model" if unfit else ""
    return Offer(ascii(name)[1:-1] if unfit else name, f"{package_of(path.parent)}.{path.stem}", path, None, problem)


def in_variable() -> Iterator[Offer]:
    """The models in the folders of GENKIT_MODELS."""
    for each in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        try:
            folder = expanded(each).resolve()
            there = folder.is_dir()
        except (OSError, RuntimeError):  # nobody has such a name, as in ~nobody/models; too long; links in a circle
            there = False
        if there:
            yield from in_folder(folder)
        else:
            say(f"{VARIABLE} names {each if each.isprintable() else ascii(each)}, which is no folder")


def in_packages() -> list[Offer]:
    """The models of installed packages."""
    return _entry_points(tuple(sys.path))


@functools.lru_cache(1)
def _entry_points(path: tuple[str, ...]) -> list[Offer]:
    if not any(map(_may_bring_models, path)):
        return []
    from importlib.metadata import distributions

    found, seen = [], set()
    try:
        for each in distributions():
            name, _, version = _place(each).rpartition(".")[0].partition("-")
            key = re.sub("[-_.]+", "-", name).lower()
            if key not in seen:  # the first on the path is meant, as Python means it
                found += _offers_of(each, name, version)
            seen.add(key or object())
    except Exception as error:  # whoever finds them may be anybody's
        say(f"not all packages could be searched for models: {type(error).__name__}: {in_one_line(error)}")
    return found


def _place(distribution: Distribution) -> str:
    """What the folder of a distribution is called, as acme_models-1.2.dist-info; "" where it has none."""
    return Path(str(getattr(distribution, "_path", ""))).name


def _offers_of(distribution: Distribution, name: str, version: str) -> list[Offer]:
    """The models of one package; of what is wrong with it, each has a problem, and no other package is touched.

    Args:
        name, version: what its folder says, for a package that doesn't say it itself.
    """
    try:
        lines = _lines_of_group(distribution.read_text("entry_points.txt") or "")
    except Exception as error:
        path = getattr(distribution, "_path", None)
        with suppress(Exception):
            if path is None or GROUP.encode() in (path / "entry_points.txt").read_bytes():
                why = f"{type(error).__name__}: {in_one_line(error)}"
                say(f"the models of {in_form(name)} aren't found, for its entry_points.txt can't be read: {why}")
        return []
    if not lines:
        return []
    try:
        said: list[str | None] = [distribution.metadata["Name"], distribution.version]  # whatever their types promise
        if None in said:
            raise ValueError("it has no name or no version")
        package, fault = Package(*map(str, said)), ""
    except Exception as error:  # none, or one that says neither, or what is no name or version
        package = Package(in_form(name), in_form(version))
        fault = f"the METADATA of its package is faulty, {in_one_line(error)}; install the package again"
    return [_offer_of(line, package, fault) for line in lines]


def _lines_of_group(text: str) -> list[str]:
    """The lines of an entry_points.txt that are in the group of models."""
    lines, group = [], ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif group == GROUP and not line.startswith("#"):
            lines.append(line)
    return lines


def _offer_of(line: str, package: Package, fault: str) -> Offer:
    """The model of a line `name = module`; with `fault` as its problem, if there is one."""
    name, equals, value = map(str.strip, line.partition("="))
    whole = re.fullmatch(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*)(\s*:.*)?(\s*\[.*\])?", value)
    module = whole[1] if whole else ""
    file = file_of(module) if whole and not whole[2] else None
    problem = fault
    if not NAME.fullmatch(name):
        problem = "a model's name has letters, digits and hyphens alone"
    elif not equals or not whole:
        problem = f"its entry point is {ascii(line)[1:-1][:200]}; write it as {name} = MODULE"
    elif whole[2]:
        problem = f"its entry point is {ascii(value)[1:-1][:200]}; name the module alone, {module}"
    elif file is None and not fault:
        problem = f"its entry point names the module {module}, which isn't there"
    return Offer(ascii(name)[1:-1][:80], module, file, package, problem)


def _may_bring_models(folder: str) -> bool:
    """Whether a package in this folder of the path has entry points of the group.

    For most people none has, which a look at the files tells in a hundredth of the time that importlib.metadata takes
    to be imported.
    """
    try:
        installed = [each for each in Path(folder).iterdir() if each.suffix in (".dist-info", ".egg-info")]
    except OSError:
        return Path(folder).is_file()  # an archive
    for each in installed:
        with suppress(OSError):
            if GROUP.encode() in (each / "entry_points.txt").read_bytes():
                return True
    return False


def file_of(module: str) -> Path | None:
    """Where a module lies, without running the packages that it lies in; None where it isn't there."""
    top, *parts = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except Exception:  # whoever finds it may be anybody's
        return None
    if spec is None:
        return None
    file = Path(spec.origin) if spec.origin else None
    folders = [Path(each) for each in spec.submodule_search_locations or ()]
    for part in parts:
        endings = (f"{part}{suffix}" for suffix in all_suffixes())
        names = [str(Path(part, "__init__.py")), *endings]
        try:
            file = next((path for folder in folders for name in names if (path := folder / name).is_file()), None)
            folders = [path for folder in folders if (path := folder / part).is_dir()]
        except OSError:  # too long a name
            return None
    return file


def help_of(offer: Offer) -> str:
    """The first line of a model's docstring, or why it can't be loaded, in brackets; read, not run."""
    if offer.problem or offer.file is None:
        return f"(can't be loaded: {offer.problem})" if offer.problem else ""
    try:
        status = offer.file.stat()
        return _first_line(offer.file, status.st_mtime_ns, status.st_size)
    except OSError as error:
        return f"(can't be loaded: {in_one_line(error)})"


@functools.lru_cache(256)
def _first_line(file: Path, _changed: int, _size: int) -> str:
    if file.suffix != ".py":
        return ""
    import ast  # for those who list, and not for all who find

    try:
        docstring = ast.get_docstring(ast.parse(file.read_bytes())) or ""
    except SyntaxError as error:
        return f"(can't be loaded: {file.name}, line {error.lineno}: {error.msg})"
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return f"(can't be loaded: {file.name}: {in_one_line(error)})"
    return docstring.partition("\n")[0]


def is_path(word: str) -> bool:
    """Whether somebody who typed this for a model meant a file."""
    return word.endswith(".py") or "/" in word or os.sep in word


def add(path: str) -> str:
    """Make known, in this process, the model of a file that a person has typed; returns its name.

    Raises:
        ModelError: when there is no such file, or its model would have a name that is taken.
    """
    try:
        file = expanded(path)
        file = file.parent.resolve() / file.name
        there = file.is_file()
    except (OSError, RuntimeError):  # nobody has such a name, as in ~nobody/x.py; too long; links in a circle
        there = False
    if not there:
        raise ModelError(f"there is no file {path}; give a model's name, or its file")
    if file.suffix != ".py":
        raise ModelError(f"{path} is no model: a model's file ends in .py")
    offer = of_file(file)
    if offer.problem:
        raise ModelError(f"{path}: {offer.problem}")
    ours = next((each for each in in_folder(OURS) if each.name == offer.name), None)
    if ours is not None and ours.file is not None and not ours.file.samefile(file):
        raise ModelError(f"{path}: genkit has a model {offer.name} of its own, which would win; rename the file")
    if ours is None:
        _typed[offer.name] = offer
    return offer.name


# ---------------------------------------------------------------------------------------------------------------------
# Import
# ---------------------------------------------------------------------------------------------------------------------


def find(name: str) -> type[Model]:
    """The one model class of this name.

    Raises:
        UsageError: when there is none.
        ModelError: when it can't be loaded.
    """
    return load(name).kind


def find_again(name: str, provider: Provider | None) -> type[Model]:
    """The model of a run or a checkpoint that was trained with what `provider` had under this name.

    Args:
        provider: None where that isn't known.

    Raises:
        UsageError: as `find`.
        ModelError: when it isn't here, with what to do about it; or it can't be loaded.
    """
    loaded = remembered(name)
    if loaded is None or loaded.provider != provider:
        same = same_file(name, provider)
        loaded = imported(same) if same else loaded
    if loaded is None:
        require_again(name, provider)
        loaded = load(name)
    before, now = provider, loaded.provider
    if isinstance(before, File) and isinstance(now, File):
        if before != now:
            hashes = f"its SHA-256 was {before.sha256[:12]}…, and is {now.sha256[:12]}…"
            say(f"{now.file} isn't as it was when the model was trained ({hashes}); it is used if the weights fit it")
    elif before is not None and (isinstance(before, File) or isinstance(now, File) or before.package != now.package):
        say(f"the model {name} was trained as that of {before}, and here it is that of {now}")
    return loaded.kind


def same_file(name: str, provider: Provider | None) -> Offer | None:
    """Of several models of a name, the file that is to the byte the one that a run was trained with.

    None where there is none, and where a person has typed a path, which is meant whatever it holds.
    """
    if not isinstance(provider, File) or name in _typed:
        return None
    for offer in offers().get(name, ()):
        if offer.package is None and offer.file is not None and not offer.problem:
            with suppress(OSError):
                if hashlib.sha256(offer.file.read_bytes()).hexdigest() == provider.sha256:
                    return offer
    return None


def how_to_get(name: str, provider: Provider) -> str:
    """What to do for a model that isn't here. Of what a checkpoint says, only what has the form of a name is shown."""
    name = name if isinstance(name, str) and NAME.fullmatch(name) else ascii(name)[:80]
    if isinstance(provider, File):
        return (
            f"the model {name} isn't here; it was trained from a file {provider.file}: name the folder that has it "
            f"with {VARIABLE}=FOLDER, or give it to train, as in genkit train FOLDER/{provider.file} --resume RUN"
        )
    if provider.package == GENKIT.package:
        return f"the model {name} comes with genkit {provider.version}, and this is {GENKIT}: update genkit"
    return (
        f"the model {name} isn't here; it was trained with the package {provider}: if you trust that, "
        f"pip install {provider.package}"
    )


def provider_of(name: str) -> Provider:
    """Who the model of this name is of, as it was imported.

    Raises:
        UsageError, ModelError: as `find`.
    """
    return load(name).provider


def folder_to_give(name: str) -> Path | None:
    """What GENKIT_MODELS lacks for other commands to find the model of a typed file; None where it lacks nothing."""
    typed = _typed.get(name)
    if typed is None or typed.file is None or any(each.module == typed.module for each in in_variable()):
        return None
    return typed.file.parent


def name_of(kind: type[Model]) -> str:
    """The name of a model that was found, or whose module is that of one that could be.

    Raises:
        ModelError: when it is neither's class.
    """
    for loaded in _loaded.values():
        if loaded.kind is kind:
            return loaded.name
    for name, (meant, *_) in offers().items():
        if meant.module == kind.__module__:
            return name
    raise ModelError(f"{kind.__module__}.{kind.__name__} is no model that genkit finds by a name")


def meant(name: str) -> Offer:
    """What is meant by a name; out loud where there is another of the same. Nothing of it is run.

    Raises:
        UsageError: when there is no such model.
        ModelError: when it can't be loaded, as far as that can be known.
    """
    known = remembered(name)
    if known is not None:
        return known.offer
    found = offers()
    if name not in found:
        file = Path(f"{name.replace('-', '_')}.py") if isinstance(name, str) else Path()
        here = len(file.name) < 100 and file.stem.isidentifier() and file.is_file()
        hint = f"; for the file that lies here, give its path: ./{file}" if here else nearest(str(name), found)
        raise UsageError(f"no model is called {ascii(name)[:80]}; there are {', '.join(found)}{hint}")
    offer, *others = found[name]
    if offer.problem:
        raise ModelError(f"the model {name} can't be loaded: {offer.problem}")
    for other in others:
        say(clash(offer, other))
    return offer


def require_again(name: str, provider: Provider | None) -> None:
    """Refuse the name of a run's model, which was `provider`'s, where it isn't here.

    Raises:
        UsageError, ModelError: with what to do about it.
    """
    if remembered(name) is not None or same_file(name, provider) is not None:
        return
    if provider not in (None, GENKIT) and name not in offers():
        raise ModelError(how_to_get(name, provider))
    meant(name)


def load(name: str) -> Loaded:
    """Import a model, once a process: from then on it isn't looked for again, whatever becomes of its file.

    Raises:
        UsageError, ModelError: as `find`.
    """
    return remembered(name) or imported(meant(name))


def imported(offer: Offer) -> Loaded:
    """What an offer holds, which is what its name means from now on.

    Raises:
        ModelError: as `loaded_from`.
    """
    if offer.module not in _loaded:
        _loaded[offer.module] = loaded_from(offer)
    loaded = _loaded[offer.module]
    _meant[offer.name] = searched_by(offer.name), loaded
    return loaded


def remembered(name: str) -> Loaded | None:
    """What a name has meant in this process; None before it is loaded, or where a person means another by now."""
    searched, loaded = _meant.get(name, (None, None))
    return loaded if searched == searched_by(name) else None


def searched_by(name: str) -> object:
    """What a person says of where a model lies: the variable, and a path that was typed."""
    return os.environ.get(VARIABLE), _typed.get(name)


def warn_of_clashes() -> None:
    """Say of every name under which there are several models which is meant, once a process."""
    for meant, *others in offers().values():
        for other in others:
            say(clash(meant, other))


def clash(meant: Offer, other: Offer) -> str:
    if meant.problem:
        return f"the model {meant.name} can't be loaded: {meant.problem}"
    whose = "genkit's own" if meant.package == GENKIT else f"that of {meant.whose}"
    return f"there are several models called {meant.name}: {whose} is used, and that of {other.whose} isn't"


def loaded_from(offer: Offer) -> Loaded:
    """Import an offer's module and find the class in it.

    Raises:
        ModelError: in a line that names the file or the package, and the reason.
    """
    before = set(sys.modules)
    try:
        with redirect_stdout(sys.stderr):  # a command's result stands alone on stdout
            if offer.package is None:
                assert offer.file is not None
                digest = hashlib.sha256(offer.file.read_bytes()).hexdigest()
                provider: Provider = File(offer.file.name, digest)
                module = import_file(offer.module, offer.file)
            else:
                provider, module = offer.package, importlib.import_module(offer.module)
        return Loaded(offer, model_in(module, offer), provider)
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        for each in sys.modules.keys() - before:
            if each.startswith(FOLDER):  # helpers of a file that will be mended, in this process perhaps
                del sys.modules[each]
        raise ModelError(f"{shown(offer)} can't be loaded: {reason(error, offer)}") from error


def model_in(module: ModuleType, offer: Offer) -> type[Model]:
    """The one model class that a module defines; one that is only there for others to inherit from isn't counted.

    Raises:
        ModelError: when there is none, or there are several; or its `Options` aren't options.
    """
    from genkit.contract import Model, TrainingOptions

    classes = {each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Model)}
    own = sorted((each for each in classes if each.__module__ == module.__name__), key=lambda each: each.__name__)
    whole = [each for each in own if not getattr(each, "__abstractmethods__", None)]
    if len(own) == 1 and not whole:
        lacks = ", ".join(sorted(own[0].__abstractmethods__))
        raise ModelError(f"{shown(offer)} can't be loaded: its class {own[0].__name__} doesn't define {lacks}")
    if len(whole) != 1:
        several = f"it has several models, {', '.join(each.__name__ for each in whole)}; keep one in a file"
        taken = min((f"; {each.__name__} is of {each.__module__}" for each in classes - set(own)), default="")
        none = f"it has no model, which is a class of its own that inherits from genkit.contract.Model{taken}"
        raise ModelError(f"{shown(offer)} can't be loaded: {several if whole else none}")
    (kind,) = whole
    if not (isinstance(kind.Options, type) and issubclass(kind.Options, TrainingOptions)):
        raise ModelError(f"{shown(offer)} can't be loaded: its Options don't inherit from contract.TrainingOptions")
    return kind


def package_of(folder: Path) -> str:
    """The name of the package as which a folder of models is imported."""
    return FOLDER + hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def import_file(name: str, file: Path) -> ModuleType:
    """Import a file as a module of its folder's package, in which `from . import _shared` finds what lies beside it."""
    package = name.rpartition(".")[0]
    if package not in sys.modules:
        spec = ModuleSpec(package, None, is_package=True)
        spec.submodule_search_locations = [str(file.parent)]
        sys.modules[package] = importlib.util.module_from_spec(spec)
    if name in sys.modules:  # a model that another one inherits from
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None
    assert found.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


# ---------------------------------------------------------------------------------------------------------------------
# Say
# ---------------------------------------------------------------------------------------------------------------------


def say(warning: str) -> None:
    """A warning, once a process."""
    if warning not in _said:
        _said.add(warning)
        logger.warning("%s", warning)


def shown(offer: Offer) -> str:
    """An offer's place in a message: "models/vae.py", "/home/anna/my_model.py", "acme.gan of acme-models 1.0"."""
    if offer.package == GENKIT and offer.file is not None:
        return f"models/{offer.file.name}"
    return str(offer.file) if offer.package is None else f"{offer.module} of {offer.package}"


def shown_by_name(name: str) -> str:
    """The same of the model that is meant by a name; the name itself where there is none."""
    known = remembered(name)
    found = [known.offer] if known else offers().get(name)
    return shown(found[0]) if found else name


def reason(error: BaseException, offer: Offer) -> str:
    """Why an import failed, with the line at which it did where that is one of the model's own."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}: {error.msg}"
    said = f"{type(error).__name__}: {in_one_line(error)}"
    place = place_in(error, [offer])
    if isinstance(error, ModuleNotFoundError) and error.name and offer.package is None and offer.file is not None:
        beside = offer.file.with_name(f"{error.name.partition('.')[0]}.py")
        if beside.is_file():
            said = f"it imports {beside.stem}, which lies beside it: write `from . import {beside.stem}`"
    return f"{place}: {said}" if place else said


def fault_of(error: BaseException) -> str | None:
    """Where code from outside was when it failed: "my_model.py, line 12"; None where none of it was at work.

    It raises nothing and looks for nothing: it is asked while another fault is being told.
    """
    strangers = [each.offer for each in _loaded.values() if each.offer.package != GENKIT]
    try:
        return place_in(error, strangers) if strangers else None
    except Exception:  # by what a module says of itself, its __name__ for one
        return None


def blamed(error: BaseException) -> str:
    """What an error says, in one line, after the place where code from outside failed: "my_model.py, line 12: …"."""
    place = fault_of(error)
    said = f"{type(error).__name__}: {in_one_line(error)}"
    return f"{place}: {said}" if place else said


def place_in(error: BaseException, offers: list[Offer]) -> str | None:
    """The last line of code of one of these that the error, or what it was raised from, came through."""
    packages = {each.module.rpartition(".")[0] or each.module: each for each in offers}
    seen: BaseException | None = error
    while seen is not None:
        for frame, line in reversed(list(traceback.walk_tb(seen.__traceback__))):
            module = str(frame.f_globals.get("__name__"))
            for package, offer in packages.items():
                if module == package or module.startswith(f"{package}."):
                    whose = "" if offer.package in (None, GENKIT) else f" of {offer.package}"
                    return f"{Path(frame.f_code.co_filename).name}{whose}, line {line}"
        seen = seen.__cause__
    return None
