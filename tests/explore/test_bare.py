"""The explorer of a model that encodes and makes no images: its map, and of what lies between nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from conftest import Genkit, run_of, small_model
from explore.conftest import answered, opening, pixels_of, serving

from genkit.contract import GenerativeModel
from genkit.data.dataset import Dataset
from genkit.explore.bare import BareSpace
from genkit.explore.server import Desk

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def bare(digits: Dataset, latent_dim: int) -> BareSpace:
    torch.manual_seed(1)
    model = small_model("triplet", digits.shape, width=2, latent_dim=latent_dim).eval()
    names = (digits.name, digits.classes, digits.attributes)
    return BareSpace(cast(GenerativeModel, model), "a run", lambda: digits, names, limit=50)


@pytest.mark.parametrize(("latent_dim", "method"), [(2, "native"), (5, "pca")])
def test_a_code_shows_the_image_that_is_nearest(digits: Dataset, latent_dim: int, method: str) -> None:
    space = bare(digits, latent_dim)
    about = space.about()
    assert (about["map"]["method"], about["makes_images"], about["active"]) == (method, False, [])
    some = torch.tensor([3, 11, 47])
    own = space.all_codes[some]
    assert torch.equal(space.decode(own), space.originals(some))
    spaces = torch.cdist(own, space.all_codes)
    gap = spaces.scatter(1, some[:, None], torch.inf).amin(1).min() / 3
    assert torch.equal(space.decode(own + gap / latent_dim**0.5), space.originals(some))
    code, pixels = space.under(*space.points()[7].tolist())
    assert torch.equal(pixels, space.decode(code[None])[0])
    if method == "native":
        assert torch.equal(pixels, space.originals(torch.tensor([7]))[0])
    *_, found = space.file(digits.test.images(digits.test.spread(50)[:1])[0].float() / 255)
    assert found.code is not None
    torch.testing.assert_close(found.code, space.all_codes[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(space.mean, space.all_codes.mean(0))


def test_what_needs_a_decoder_is_not_answered(digits: Dataset) -> None:
    asked = Desk(bare(digits, 2), 1, "token").questions
    assert asked.keys() == {"decode", "under", "place", "originals", "codes", "near", "file"}


def test_the_command_writes_no_file_of_it(runs: Path, genkit: Genkit, tmp_path: Path) -> None:
    refused = genkit("explore", run_of(runs, "siamese"), "--export", tmp_path / "page.html")
    assert (refused.code, "makes no images for a file to hold; genkit embed" in refused.err) == (2, True)


def test_the_page_is_its_map(browser: Browser, runs: Path) -> None:
    with serving(run_of(runs, "triplet")) as address, opening(browser) as open_page:
        page: Any = open_page(address)
        assert not page.is_visible("#tabs")
        assert "makes no images" in page.inner_text("#map-does")
        first = pixels_of(page)
        with answered(page):
            page.click("#map-near .thumb >> nth=3")
        assert page.inner_text("#what").startswith("test image ")
        assert not np.array_equal(pixels_of(page), first)
