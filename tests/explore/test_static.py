"""The page's modules: their imports point one way, all of them are served, and all of them are in the file."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from explore.conftest import opening, serving
from explore.test_space import space_of

from genkit.data.dataset import Dataset
from genkit.explore import server, stored

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOLDER = Path(server.__file__).parent / "static"
MODULES = sorted(path.name for path in FOLDER.glob("*.js"))
#: In the file alone, where they stand for the module that asks the server.
STORED = {name for names in stored.INSTEAD.values() for name in names}


def imports(name: str) -> list[str]:
    """The modules that one imports, however it writes it."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    return re.findall(r'^(?:import|export)\b[^;]*?"\./([^"]+)"|import\(', text, re.MULTILINE)


def listed() -> list[str]:
    """The modules in the order in which index.html names them."""
    return re.findall(r'<script [^>]*src="([^"]+)"', (FOLDER / "index.html").read_text(encoding="utf-8"))


def test_no_module_imports_in_a_circle() -> None:
    graph = {name: imports(name) for name in MODULES}
    assert set(TopologicalSorter(graph).static_order()) == set(MODULES)  # or it names the circle


@pytest.mark.parametrize("in_file", [False, True])
def test_a_module_stands_below_those_that_it_imports(in_file: bool) -> None:
    instead = stored.INSTEAD if in_file else {}
    above: set[str] = set()
    for name in listed():
        for part in instead.get(name, (name,)):
            wanted = {instead.get(each, (each,))[-1] for each in imports(part)}
            assert wanted <= above, part
            above.add(part)


def test_what_lies_beside_the_page_is_served_or_in_the_file_and_used() -> None:
    names = listed()
    assert sorted({*names, *STORED}) == MODULES
    assert len(set(names)) == len(names)
    assert {*names, "index.html", "page.css"} == set(server.STATIC)
    assert {path.name for path in FOLDER.iterdir()} == {*server.STATIC, *STORED}
    used = {each for name in MODULES for each in imports(name)}
    assert set(names) - used == {"page.js"}


def test_the_file_has_all_that_the_modules_of_the_live_page_export(
    browser: Browser, vae_run: Path, digits: Dataset, tmp_path: Path
) -> None:
    path = stored.write(space_of("vae", digits, limit=20), tmp_path / "latent.html").path
    with serving(vae_run) as address, opening(browser) as open_page:
        live: dict[str, Any] = open_page(address).evaluate(
            """async (names) => {
                const exports = async (name) => Object.keys(await import(new URL(name, location.href))).sort();
                return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await exports(name)])));
            }""",
            listed(),
        )
        in_file = open_page(path.as_uri()).evaluate(
            """() => Object.fromEntries(Object.entries(genkit).map(([name, exports]) => {
                if (Object.values(exports).includes(undefined)) throw new Error(name);
                return [`${name}.js`, Object.keys(exports).sort()];
            }))"""
        )
    assert in_file["stored.js"] == live.pop("live.js") == ["openBackend"]
    assert set(in_file) == {*live, *STORED}
    assert {name: in_file[name] for name in live} == live
