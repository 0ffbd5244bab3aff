"""genkit.testing finds what is wrong with a model, and lets one that has nothing wrong with it pass."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from strangers import TINY, write_file

from genkit import registry
from genkit.contract import ImageShape
from genkit.testing import Contract, contract

pytest_plugins = ["pytester"]

SHAPE = ImageShape(1, 8, 8)
LOSS = "output = self.decoder(self.encoder(batch.images))\n"
BUILT = "super().__init__(image, options)\n"
#: What of TINY is replaced by what, the test that has to fail then, its arguments, and what it says.
FAULTS: dict[str, tuple[str, str, str, dict[str, Any], str]] = {
    "no help": (
        "contract.LatentDim = 4",
        "contract.LatentDim = 4\n        depth: int = 1",
        "test_every_option_has_help_and_a_default",
        {},
        "--depth of",
    ),
    "no docstring": (
        '"""Tiny autoencoder of somebody else\'s."""',
        "",
        "test_it_is_found_by_its_name",
        {},
        "docstring",
    ),
    "pixels beyond 1": (
        ".clamp(0, 1)",
        ".clamp(0, 1) + 0.1",
        "test_shapes_and_ranges",
        {"shape": SHAPE},
        r"pixels lie in \[0, 1\]",
    ),
    "images of another shape": (
        "nn.Unflatten(1, tuple(image))",
        "nn.Unflatten(1, (1, -1, 1))",
        "test_shapes_and_ranges",
        {"shape": SHAPE},
        "decode gives images of",
    ),
    "an axis dropped": (
        BUILT,
        "super().__init__(ImageShape(*tuple(image)[-3:]), options)\n        image = self.image\n",
        "test_images_with_an_axis_more_are_refused",
        {},
        "whose time it drops",
    ),
    "a tensor's value in __init__": (
        BUILT,
        BUILT + "        nn.Linear(1, 1).weight.sum().item()\n",
        "test_its_shapes_are_known_without_memory",
        {},
        "meta",
    ),
    "a frozen module": (
        LOSS,
        "self.requires_grad_(True)\n        " + LOSS,
        "test_no_gradient_reaches_a_frozen_module",
        {},
        "which isn't its own",
    ),
    "another's weights": (
        LOSS,
        "self.decoder[0].bias.data.add_(1)\n        " + LOSS,
        "test_a_step_moves_what_its_phase_says_and_nothing_else",
        {"shape": SHAPE},
        "isn't its own",
    ),
    "nothing moved": (
        "F.mse_loss(output, batch.images)",
        "0 * F.mse_loss(output, batch.images)",
        "test_a_step_moves_what_its_phase_says_and_nothing_else",
        {"shape": SHAPE},
        "moved nothing",
    ),
    "labels taken for granted": (
        "F.mse_loss(output, batch.images)",
        "F.mse_loss(output, batch.images) + 0 * batch.labels.sum()",
        "test_images_with",
        {"known": "attributes"},
        "'NoneType' object has no attribute 'sum'",
    ),
    "a monitor that nobody logs": (
        BUILT,
        BUILT + "        self.monitor = 'accuracy'\n",
        "test_validation",
        {},
        "monitor is accuracy",
    ),
    "noise from elsewhere": (
        "F.mse_loss(output, batch.images)",
        "F.mse_loss(output, batch.images) + int.from_bytes(__import__('os').urandom(2), 'big')",
        "test_validation",
        {},
        "it draws noise from elsewhere",
    ),
    "a state that is no buffer": (
        LOSS,
        "self.calls = getattr(self, 'calls', 0) + self.training\n        "
        "output = self.decoder(self.encoder(batch.images)) * self.calls\n",
        "test_a_run_stopped_after_every_step_comes_to_the_same_bits",
        {},
        "some state is no buffer",
    ),
    "a weight that is no parameter": (
        BUILT,
        BUILT + "        self.shift = __import__('torch').rand(options.latent_dim)\n",
        "test_a_checkpoint_opens_alone_and_gives_the_same_images",
        {"ema": 0.0},
        "neither parameter nor buffer",
    ),
    "images that look at one another": (
        "self.decoder(z).clamp(0, 1)",
        "self.decoder(z - z.mean(0)).sigmoid()",
        "test_an_image_depends_on_its_seed_alone",
        {},
        "an image depends on",
    ),
    "a lopsided prior": ("return noise", "return noise.exp()", "test_the_prior_is_symmetric", {}, "not close"),
    "features that need what is dropped": (
        "    def encode",
        "    def keep_features(self) -> None:\n        self.encoder = self.encoder[:1]\n\n    def encode",
        "test_what_features_do_not_need_can_be_dropped",
        {},
        "its features are others",
    ),
}
ENCODER_ALONE = ('Phase("", self,', 'Phase("", self.encoder,')
FURTHER = {
    "another's weights": [ENCODER_ALONE],
    "a frozen module": [ENCODER_ALONE],
    "a weight that is no parameter": [("self.decoder(z)", "self.decoder(z + self.shift)")],
}
NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed here is known to no other test."""
    monkeypatch.setattr(registry, "_typed", {})


def written(tmp_path: Path, source: str) -> type[Contract]:
    """The contract of a model of its own name, since a process keeps what it has imported."""
    return contract(str(write_file(tmp_path / f"tiny_{next(NUMBERS)}.py", source)))


def held(tests: type[Contract], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict) -> None:
    """One of the tests, as pytest would call it."""
    if "bits" in name or "opens_alone" in name:
        given = {**given, "tmp_path": tmp_path}
    if "bits" in name:
        given["monkeypatch"] = monkeypatch
    getattr(tests(), name)(**given)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_a_whole_model_passes(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, name, given, says = FAULTS[fault]
    assert old in TINY
    source = TINY.replace(old, new)
    for further in FURTHER.get(fault, ()):
        source = source.replace(*further)
    held(written(tmp_path / "whole", TINY), name, tmp_path / "whole", monkeypatch, given)
    with pytest.raises((AssertionError, RuntimeError, AttributeError), match=says):
        held(written(tmp_path / "faulty", source), name, tmp_path / "faulty", monkeypatch, given)


def test_a_gradient_penalty_is_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose loss takes gradients itself, with the weights frozen."""
    penalised = TINY.replace(
        '        return {"loss": F.mse_loss(output, batch.images)}',
        "        images = batch.images.clone().requires_grad_()\n"
        "        (slope,) = torch.autograd.grad(self.encoder(images).sum(), images, create_graph=True)\n"
        '        return {"loss": F.mse_loss(output, batch.images) + slope.square().mean()}',
    ).replace("import torch.nn.functional as F", "import torch\nimport torch.nn.functional as F")
    assert "create_graph" in penalised
    held(written(tmp_path, penalised), "test_validation", tmp_path, monkeypatch, {})


def test_a_model_that_refuses_images_is_not_asked_to_take_them(tmp_path: Path) -> None:
    refusing = TINY.replace(
        "    def encode",
        "    @classmethod\n"
        "    def options_for(cls, options, dataset):\n"
        "        from genkit.errors import DataError\n\n"
        "        if not dataset.classes:\n"
        "            raise DataError('it needs classes')\n"
        "        return options\n\n"
        "    def encode",
    )
    tests = written(tmp_path, refusing)()
    tests.test_images_with("labels")
    with pytest.raises(pytest.skip.Exception, match="it needs classes"):
        tests.test_images_with("attributes")


def test_a_model_that_makes_no_images_and_says_nothing_of_them_can_be_held_too(tmp_path: Path) -> None:
    start = TINY.index("    def encode")
    bare = TINY[:start].replace("GenerativeModel", "Model")
    tests = written(tmp_path, bare)()
    with pytest.raises(pytest.skip.Exception, match="neither encodes images nor says what their features are"):
        tests.test_shapes_and_ranges(SHAPE)
    with pytest.raises(pytest.skip.Exception, match="makes no images"):
        tests.test_an_image_depends_on_its_seed_alone()
    tests.test_validation()
    tests.test_a_checkpoint_opens_alone_and_gives_the_same_images(0.9, tmp_path)


def test_it_is_one_line_of_a_test_file_with_an_id_a_test(pytester: pytest.Pytester) -> None:
    write_file(pytester.path / "tiny.py")
    pytester.makepyfile(
        test_tiny="import genkit.testing\n\nTestTiny = genkit.testing.contract('./tiny.py', latent_dim=2)\n"
    )
    listed = pytester.runpytest_subprocess("--collect-only", "-q", "-p", "no:cacheprovider").stdout.lines
    assert "test_tiny.py::TestTiny::test_validation" in listed
    assert "test_tiny.py::TestTiny::test_images_with[labels and attributes]" in listed
    assert "test_tiny.py::TestTiny::test_a_checkpoint_opens_alone_and_gives_the_same_images[0.9]" in listed


def test_nothing_of_genkit_imports_pytest() -> None:
    code = "import sys, genkit.testing, genkit.cli; sys.exit('pytest' in sys.modules)"
    assert not subprocess.run([sys.executable, "-c", code], timeout=120).returncode
