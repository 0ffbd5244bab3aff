"""The exported page in a real browser, against the model that it was written from."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import GENERATIVE, Genkit, small_model
from explore.conftest import Open, answered, code_of, opening, pixels_of
from explore.test_space import space_of
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from genkit.contract import GenerativeModel, ImageShape
from genkit.data.dataset import Dataset, Split
from genkit.errors import GenkitError, UsageError
from genkit.explore import program, stored
from genkit.explore.program import Program, RefusedError
from genkit.explore.space import Space, Term, as_pixels
from genkit.latent import images, sampling
from genkit.models.vae import VAE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ODD = ImageShape(3, 17, 23)
DIGIT = ImageShape(1, 28, 28)


# ---------------------------------------------------------------------------------------------------------------------
# The layers
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blank(browser: Browser) -> Iterator[Page]:
    """An empty page that knows the layers."""
    page = browser.new_page()
    page.add_script_tag(content=stored.alone("decoder.js"))
    yield page
    page.close()


def in_browser(page: Page, steps: Program, inputs: Tensor, half: bool = False) -> Tensor:
    """What decoder.js makes of inputs (B, ...)."""
    results = page.evaluate(
        """([packed, inputs]) => {
            const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
            const floats = ({ half, numbers }) =>
                half ? genkit.decoder.fromHalves(new Uint16Array(bytes(numbers))) : new Float32Array(bytes(numbers));
            const blocks = { weights: floats(packed.weights), biases: floats(packed.biases) };
            const run = genkit.decoder.runner({ ...packed, ...blocks });
            return inputs.map((input) => Array.from(run(Float32Array.from(input))));
        }""",
        [steps.packed(half), inputs.flatten(1).tolist()],
    )
    return torch.tensor(results).unflatten(1, steps.shape)


def as_after_training(model: nn.Module) -> nn.Module:
    """Statistics and weights of batch normalisation that aren't those of a new model; weights that make pictures."""
    for name, parameter in model.named_parameters():
        if "generator" in name:  # which begins with the same grey everywhere
            parameter.data *= 15
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor, mean, deviation in [
                (module.running_mean, 0, 0.5),
                (module.running_var, 1, 0.2),
                (module.weight, 1, 0.3),
                (module.bias, 0, 0.5),
            ]:
                if tensor is not None:
                    nn.init.trunc_normal_(tensor, mean, deviation, mean - 2 * deviation, mean + 2 * deviation)
    return model.eval().requires_grad_(False)


VARIANTS: list[dict[str, Any]] = [
    {"activation": "gelu"},
    {"activation": "silu", "net": "conv", "likelihood": "gaussian"},
    {"activation": "tanh", "loss": "cross-entropy"},
]


@pytest.mark.parametrize("name", [each for each in GENERATIVE if each != "flow"])  # whose ODE a page can't solve
def test_every_model_decodes_and_encodes_in_the_browser_as_in_torch(blank: Page, name: str) -> None:
    for shape, variant in zip([ODD, ODD, ImageShape(1, 1, 5)], VARIANTS, strict=True):
        # What the models call `loss` is of an autoencoder and of a GAN.
        known = {key: value for key, value in variant.items() if (name, key) != ("dcgan", "loss")}
        model = as_after_training(small_model(name, shape, width=6, latent_dim=7, hidden=(20, 9), **known))
        for method, inputs in {"decode": torch.randn(3, 7), "encode": torch.rand(3, *shape)}.items():
            if not hasattr(model, method):
                continue
            expected = getattr(model, method)(inputs)
            assert expected.flatten(1).std(1).min() > 0.01
            steps = program.read(model, method, inputs[:1])
            close = {"rtol": 1e-5, "atol": 1e-5}
            torch.testing.assert_close(steps.run(inputs), expected, **close)
            torch.testing.assert_close(in_browser(blank, steps, inputs), expected, **close)
            halved = steps.halved()
            torch.testing.assert_close(in_browser(blank, halved, inputs, half=True), halved.run(inputs), **close)


@pytest.mark.parametrize("name", ["ae", "vae"])
def test_what_begins_at_pca_is_refused_and_so_decoded_beforehand(name: str) -> None:
    model = as_after_training(small_model(name, ODD, latent_dim=7, hidden=(20,), shortcut="linear"))
    with pytest.raises(program.RefusedError, match="it calculates with images in an uncommon way"):
        program.read(model, "decode", torch.randn(1, 7))


def test_a_part_of_another_precision_is_refused() -> None:
    class Coarse(nn.Module):
        def decode(self, z: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return z @ torch.ones(2, 3)

    with pytest.raises(program.RefusedError):
        program.read(Coarse(), "decode", torch.randn(1, 2))


def test_an_encoder_of_many_pixels_is_read_with_the_scale_of_its_inputs() -> None:
    """Above 1,024 of them, see `nets.ScaledLinear`."""
    model = VAE(ImageShape(1, 40, 40), VAE.Options(hidden=(20,), latent_dim=3, input_scale=0.64)).eval()
    images = torch.rand(3, 1, 40, 40)
    torch.testing.assert_close(program.read(model, "encode", images[:1]).run(images), model.encode(images).detach())


class Written(nn.Module):
    """Whatever a function makes of its layers and its input, as a model's `decode`."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def decode(self, inputs: Tensor) -> Tensor:
        return self.function(inputs, *self.layers)


def grid_of(x: Tensor) -> Tensor:
    return x.view(-1, 2, 3, 4)


PIECES: dict[str, Written] = {
    "activations": Written(
        lambda x: F.leaky_relu(x, 0.3) + F.relu(x + 1) + F.silu(x) + torch.tanh(x) + F.gelu(-x) + torch.sigmoid(x)
    ),
    "in place": Written(lambda x, act: act(x * 1), nn.LeakyReLU(0.1, inplace=True)),
    "constants": Written(lambda x: (1 - (x - 0.25) / 2).clamp(min=0.4) * torch.tensor(3.0) + (-x).clamp(max=0.2)),
    "parts": Written(lambda x: x[:, 3:9] + x.chunk(4, 1)[2] + x.split([6, 12, 6], 1)[2]),
    "a residue": Written(lambda x, inner: x + inner(x).relu(), nn.Linear(24, 24, bias=False)),
    "shapes": Written(
        lambda x, one, two: two(one(x[:, :, None, None]).flatten(1)).reshape(-1, 1, 5, 1).squeeze(3),
        nn.ConvTranspose2d(24, 3, (2, 3)),
        nn.Linear(18, 5),
    ),
    "strides": Written(
        lambda x, one, two: two(one(grid_of(x))),
        nn.Conv2d(2, 5, (3, 2), (2, 1), (1, 2)),
        nn.ConvTranspose2d(5, 3, (2, 5), (3, 2), (1, 1), (2, 1)),
    ),
    "normalised": Written(
        lambda x, one, two, three: three(two(grid_of(one(x)))),
        nn.BatchNorm1d(24, affine=False),
        nn.BatchNorm2d(2),
        nn.Dropout(0.5),
    ),
}


@pytest.mark.parametrize("name", PIECES)
def test_what_other_models_may_do_is_done_as_in_torch(blank: Page, name: str) -> None:
    model = as_after_training(PIECES[name])
    inputs = 2 * torch.randn(4, 24)
    with torch.no_grad():
        expected = model.decode(inputs)  # type: ignore[operator]
    steps = program.read(model, "decode", inputs[:1])
    torch.testing.assert_close(steps.run(inputs), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(in_browser(blank, steps, inputs), expected, rtol=1e-5, atol=1e-5)


REFUSED: dict[str, tuple[Written, str]] = {
    "gelu": (Written(lambda x: F.gelu(x, approximate="tanh")), "approximates gelu by tanh"),
    "upsample": (Written(lambda x: F.interpolate(grid_of(x), scale_factor=2)), "upsample"),
    "groups": (Written(lambda x, one: one(grid_of(x)), nn.Conv2d(2, 4, 3, groups=2)), "conv2d"),
    "dilation": (Written(lambda x, one: one(grid_of(x)), nn.ConvTranspose2d(2, 4, 3, dilation=2)), "conv_transpose2d"),
    "the batch": (Written(lambda x, one: one(grid_of(x)), nn.BatchNorm2d(2, track_running_stats=False)), "batch"),
    "a transpose": (Written(lambda x: grid_of(x).transpose(2, 3)), "transpose"),
    "an image's own value": (Written(lambda x: x if x.sum() > 0 else -x), "can't record decode"),
    "chance": (Written(lambda x: x + torch.randn_like(x)), "randn_like"),
    "many of one": (Written(lambda x: x + grid_of(x).view(-1, 24)[:, :1]), "different shapes"),
    "chance alone": (Written(lambda x: x + torch.rand(())), "rand"),
    "constants of many numbers": (Written(lambda x: x * torch.arange(24.0)), "uncommon"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_layers_cannot_do_is_refused_by_name(name: str) -> None:
    model, reason = REFUSED[name]
    with pytest.raises(RefusedError, match=reason):
        program.read(model.eval(), "decode", torch.randn(1, 24))


def test_erf_is_right_to_nine_digits(blank: Page) -> None:
    x = torch.cat([torch.linspace(-7, 7, 4001), torch.tensor([0.0, 1e-9, -40.0, 1e9])]).double()
    found = blank.evaluate("(x) => x.map(genkit.decoder.erf)", x.tolist())
    assert (torch.tensor(found, dtype=torch.float64) - torch.erf(x)).abs().max() < 1e-9


def test_every_half_is_read_as_it_is(blank: Page) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    found = blank.evaluate(
        "(n) => genkit.decoder.fromHalves(Uint16Array.from({length: n}, (_, k) => k)).join()", 1 << 16
    )
    halves = np.array(found.replace("Infinity", "inf").split(","), dtype=np.float32)
    np.testing.assert_array_equal(halves, bits.view(np.float16).astype(np.float32))


def test_pixels_are_rounded_as_genkit_rounds(blank: Page) -> None:
    values = torch.cat([torch.arange(511) / 510, torch.tensor([-1.0, 2.0, float("nan")])])
    found = blank.evaluate(
        "(x) => Array.from(genkit.decoder.toPixels(Float32Array.from(x, (v) => v === null ? NaN : v), 1))",
        [None if value != value else value for value in values.tolist()],
    )
    assert found == images.to_uint8(values).tolist()
    back = blank.evaluate("() => Array.from(genkit.decoder.fromPixels(Uint8ClampedArray.of(1, 2, 3, 4, 5, 6), 3))")
    np.testing.assert_allclose(np.array(back) * 255, [1, 4, 2, 5, 3, 6], rtol=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# The file that the command writes
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    with opening(browser) as opener:
        yield opener


def decoded(model: GenerativeModel, code: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What `genkit sample` makes of a code: uint8 (H, W), or (H, W, 3) in colour."""
    pixels = as_pixels(sampling.decode(model, torch.from_numpy(code)[None]))[0].numpy()
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def apart(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_command_writes_a_page_that_decodes_by_itself(
    genkit: Genkit, open_page: Open, vae_run: Path, vae: GenerativeModel, tmp_path: Path, size: str
) -> None:
    path = tmp_path / "latent.html"
    outcome = genkit("explore", vae_run, "--export", path, "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["mode"] == "decoder"
    assert outcome.json["difference"] <= 2
    assert outcome.json["bytes"] == path.stat().st_size < 5_000_000
    assert f"within {outcome.json['difference']}/255 of the model's" in outcome.err
    assert [entry.name for entry in tmp_path.iterdir()] == ["latent.html"]

    page = open_page(path.as_uri(), size)  # which also sees that it asks nobody, and complains of nothing
    assert re.search(rf"vae on mnist5k, run {vae_run.name}, checkpoint \d+, written 20", page.inner_text("#source"))
    assert vae_run.name in page.title()
    canvas = page.locator("#map-canvas").bounding_box()
    assert canvas is not None
    x, y = canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2
    codes = []
    page.mouse.move(x - 60, y - 20)
    page.mouse.down()
    for dx, dy in [(-60, -20), (40, 50), (90, -40)]:
        with answered(page):
            page.mouse.move(x + dx, y + dy, steps=4)
        codes.append(code_of(page))
        assert apart(pixels_of(page), decoded(vae, codes[-1])) <= 2
    page.mouse.up()
    assert np.abs(codes[0] - codes[1]).max() > 0.1

    page.click("#tab-calculate")
    page.click("#sum-example")
    page.wait_for_selector("#sum-result:not([hidden])")
    assert apart(pixels_of(page, "#sum-picture"), decoded(vae, code_of(page))) <= 2


def test_the_default_vae_of_digits_fits_with_its_encoder(digits: Dataset, tmp_path: Path) -> None:
    model = small_model("vae", DIGIT).eval()
    written = stored.write(space(model, digits), tmp_path / "latent.html")
    assert written.size < 5_000_000
    assert written.notes == []
    assert '"encoder":{"steps"' in written.path.read_text()


def space_of_width(units: int, dataset: Dataset) -> Space:
    model = small_model("vae", DIGIT, latent_dim=2, hidden=(units,)).eval()
    return space(model, dataset, limit=100)


def space(model: Any, dataset: Dataset, run: str = "a run", **settings: Any) -> Space:
    names = (dataset.name, dataset.classes, dataset.attributes)
    return Space(model, run, lambda: dataset, names, **settings)


# ---------------------------------------------------------------------------------------------------------------------
# What the file answers is what the server would
# ---------------------------------------------------------------------------------------------------------------------


def ask(page: Page, script: str, *given: Any) -> Any:
    """What `script`, a function of the backend and `given`, resolves to; typed arrays as lists."""
    return page.evaluate(
        f"""async (given) => {{
            const result = await ({script})(genkit.stored.openBackend(), ...given);
            const plain = (_, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);
            return JSON.parse(JSON.stringify(result, plain));
        }}""",
        list(given),
    )


def refusal(page: Page, script: str, *given: Any) -> str:
    """The message with which it is refused."""
    return ask(page, f"(...all) => ({script})(...all).then(() => 'not refused', (error) => error.message)", *given)


SPACES: dict[str, dict[str, Any]] = {
    "native": {"model": "vae", "latent_dim": 2},
    "a line": {"model": "ae", "latent_dim": 1},
    "pca": {"model": "vae", "limit": 90},
    "tsne": {"model": "conv-ae", "method": "tsne", "limit": 60},
    "seeds": {"model": "dcgan", "limit": 80},
    "seeds by t-SNE": {"model": "dcgan", "method": "tsne", "limit": 60},
}


@pytest.fixture(params=SPACES)
def written_space(request: pytest.FixtureRequest, digits: Dataset) -> Space:
    settings = dict(SPACES[request.param])
    if settings.get("method") == "tsne":
        pytest.importorskip("sklearn")
    return space_of(settings.pop("model"), digits, **settings)


def test_maps_codes_and_images_are_those_of_the_space(open_page: Open, written_space: Space, tmp_path: Path) -> None:
    space = written_space
    written = stored.write(space, tmp_path / "latent.html")
    assert written.mode == "decoder"
    page = open_page(written.path.as_uri())
    about = ask(page, "(b) => b.about()")
    everything = space.about()
    for name in ("latent_dim", "count", "map", "image", "colorings", "seeds_map", "points_are", "prior", "active"):
        assert about[name] == everything[name], name
    assert ask(page, "(b) => b.points()") == space.points().flatten().tolist()
    assert ask(page, "(b) => b.labels()") == space.labels().flatten().tolist()

    some = [0, 7, 33, len(space.all_codes) - 1]
    codes = torch.cat([space.codes(torch.tensor(some)), space.seeds([0, 5, 255])])
    assert ask(page, "(b, k) => b.codes(k)", some) == codes[:4].flatten().tolist()
    assert ask(page, "(b, k) => b.seeds(k)", [0, 5, 255]) == codes[4:].flatten().tolist()
    assert "seeds 0 to 255" in refusal(page, "(b) => b.seeds([256])")
    originals = np.array(ask(page, "(b, k) => b.originals(k)", some), np.uint8)
    assert apart(originals, space.originals(torch.tensor(some)).flatten().numpy()) <= (2 if about["seeds_map"] else 0)

    codes = torch.cat([codes, 2 * codes[4:]])
    flat = codes.flatten().tolist()
    pixels = np.array(ask(page, "(b, z) => b.decode(Float32Array.from(z))", flat), np.uint8)
    assert apart(pixels, space.decode(codes).flatten().numpy()) <= 2
    low, high = space.points().amin(0), space.points().amax(0)
    extent = float((high - low).max())
    places = torch.tensor(ask(page, "(b, z) => b.place(Float32Array.from(z))", flat)).view(-1, 2)
    torch.testing.assert_close(places, space.place(codes), rtol=0, atol=2e-3 * extent)
    for share in ([0.5, 0.5], [0.1, 0.8], [-0.3, 1.2], [0.9, 0.0]):
        x, y = (low + torch.tensor(share) * (high - low)).tolist()
        code, picture = space.under(x, y)
        found = ask(page, "(b, x, y) => b.under(x, y)", x, y)
        torch.testing.assert_close(torch.tensor(found["code"]), code, rtol=1e-4, atol=1e-4)
        assert apart(np.array(found["pixels"], np.uint8), picture.flatten().numpy()) <= 2
    for code in codes[:6]:
        near = ask(page, "(b, z) => b.near(Float32Array.from(z))", code.tolist())
        if about["seeds_map"]:  # whose images are compared, with rounded weights
            assert len({*near} & {*space.near(code).tolist()}) >= 7
            assert near[0] == space.near(code)[0]
        else:
            assert near == space.near(code).tolist()


def test_the_page_stays_alive_while_many_codes_are_placed(open_page: Open, digits: Dataset, tmp_path: Path) -> None:
    space = space_of("dcgan", digits, limit=20)
    page = open_page(stored.write(space, tmp_path / "latent.html").path.as_uri())
    turns = ask(
        page,
        """async (b, codes) => {
            let [now, turns] = [0, 0];
            performance.now = () => (now += 1000); // whatever is done takes longer than the page may stand still
            const turn = () => (turns++, setTimeout(turn));
            setTimeout(turn);
            await b.place(Float32Array.from(codes));
            return turns;
        }""",
        space.all_codes.flatten().tolist(),
    )
    assert turns > 5


@pytest.mark.parametrize(
    ("latent", "missing", "by"),
    [(6, "", "what the discriminator sees"), (6, "traits_program", "distance"), (6, "candidates", "distance"),
    (2, "", "distance")],
)  # fmt: skip
def test_the_page_says_by_what_points_are_near(
    open_page: Open,
    digits: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    latent: int,
    missing: str,
    by: str,
) -> None:
    space = space_of("dcgan", digits, latent_dim=latent, limit=40)
    assert space.about()["near_by_images"] == (latent > 2)

    def refuse(space: Space) -> None:
        if missing == "candidates":
            raise RefusedError("what isn't known")

    if missing:
        monkeypatch.setattr(stored, missing, refuse)
    page = open_page(stored.write(space, tmp_path / "latent.html").path.as_uri())
    assert page.inner_text("#map-near-help").startswith(f"By {by}")


SUMS: list[list[tuple[int, str]]] = [
    [(1, "label:7"), (-1, "label:1"), (1, "label:4")],
    [(-1, "point:3"), (1, "point:17"), (1, "seed:9")],
    [(1, "seed:0")],
]


def test_sums_are_those_of_the_space(open_page: Open, written_space: Space, tmp_path: Path) -> None:
    space = written_space
    page = open_page(stored.write(space, tmp_path / "latent.html").path.as_uri())
    for terms in SUMS:
        if space.split is None and "label:7" in terms[0]:
            continue
        expected = space.sum([Term(sign, text) for sign, text in terms])
        found = ask(page, "(b, t) => b.sum(t)", [{"sign": sign, "term": text} for sign, text in terms])
        torch.testing.assert_close(torch.tensor(found["code"]), expected.code, rtol=1e-5, atol=1e-5)
        assert apart(np.array(found["pixels"], np.uint8), expected.pixels.flatten().numpy()) <= 2
        assert apart(np.array(found["control"], np.uint8), expected.control.flatten().numpy()) <= 2
        assert [each["images"] for each in found["terms"]] == expected.terms
    given = {"code": space.all_codes[2].tolist(), "pixels": [128] * space.image.numbers}
    found = ask(page, "(b, g) => b.sum([{sign: 1, term: {code: Float32Array.from(g.code), pixels: g.pixels}}])", given)
    torch.testing.assert_close(torch.tensor(found["code"]), space.all_codes[2])
    assert set(found["control"]) == {128}
    if space.split is None:
        assert ask(page, "(b) => b.about()")["terms"] == {"labels": [], "attributes": []}
        assert "has no encoder" in refusal(page, "(b) => b.file(new Blob())")
    else:
        assert "No image in this file is 'label:eleven'" in refusal(
            page, "(b) => b.sum([{sign: 1, term: 'label:eleven'}])"
        )


@pytest.fixture(scope="module")
def coloured() -> Dataset:
    """Smooth colour images of an odd size, with attributes and without labels."""
    corners = torch.rand(40, 3, 3, 4, generator=torch.Generator().manual_seed(0))
    pixels = images.to_uint8(F.interpolate(corners, ODD[1:], mode="bicubic").clamp(0, 1))
    attributes = torch.stack([torch.arange(40) % 2 == 0, torch.arange(40) < 30], 1)
    every = Split(pixels, torch.arange(40), None, attributes)
    return Dataset("/somebody/scans", every, every.take(slice(0, 4)), every, (), ("even", "early"))


def test_colour_attributes_and_a_part_of_the_points(
    open_page: Open, coloured: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = space_of("vae", coloured)
    monkeypatch.setattr(stored, "POINTS", (20,))
    monkeypatch.setattr(stored, "FEWEST_BESIDE_ENCODER", 1)
    written = stored.write(whole, tmp_path / "latent.html")
    assert written.notes == ["20 of the map's 40 points are in the file"]
    page = open_page(written.path.as_uri())
    assert written.notes[0] in page.inner_text("#source")
    assert "/somebody" not in written.path.read_text()
    part = torch.arange(0, 40, 2)
    about = ask(page, "(b) => b.about()")
    assert (about["count"], about["positions"]) == (20, part.tolist())
    assert ask(page, "(b) => b.points()") == whole.points()[part].flatten().tolist()
    assert ask(page, "(b) => b.originals([3])") == whole.originals(torch.tensor([6])).flatten().tolist()
    labels = torch.tensor(ask(page, "(b) => b.labels()")).view(2, 20)
    assert labels.equal(whole.labels()[:, part].long())

    # A term means the first of its images in torch's order of so many.
    found = ask(page, "(b) => b.sum([{sign: 1, term: 'even & !early'}])")
    fitting = torch.arange(15, 20)
    chosen = fitting[torch.randperm(5, generator=torch.Generator().manual_seed(0))[:3]]
    assert found["terms"] == [{"images": chosen.tolist()}]
    torch.testing.assert_close(torch.tensor(found["code"]), whole.codes(part[chosen]).mean(0))
    assert (
        apart(np.array(found["pixels"], np.uint8), whole.decode(torch.tensor([found["code"]])).flatten().numpy()) <= 2
    )


# ---------------------------------------------------------------------------------------------------------------------
# Images of one's own
# ---------------------------------------------------------------------------------------------------------------------


def picture_file(size: tuple[int, int], kind: str) -> bytes:
    """A photograph's worth of shapes: in colour, grey or half transparent."""
    rows = torch.linspace(0, 6, size[1])[:, None]
    columns = torch.linspace(0, 9, size[0])[None]
    channels = [(torch.sin(rows * a + columns * b) + 1) / 2 for a, b in ((1, 1), (2, -1), (-1, 3), (0.5, 0.5))]
    pixels = (torch.stack(channels, 2) * 255).byte().numpy()
    content = io.BytesIO()
    image = Image.fromarray(pixels if kind == "RGBA" else pixels[..., :3]).convert(kind)
    image.save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_is_read_as_genkit_reads_it_and_reconstructed(
    open_page: Open, digits: Dataset, coloured: Dataset, tmp_path: Path, channels: int
) -> None:
    space = space_of("conv-ae", coloured if channels == 3 else digits, limit=50)
    page = open_page(stored.write(space, tmp_path / "latent.html").path.as_uri())
    exact = (space.image.width, space.image.height)
    for size, kind in [(exact, "RGB"), (exact, "L"), ((200, 121), "RGB"), ((31, 90), "RGBA"), ((9, 7), "L")]:
        content = picture_file(size, kind)
        (expected,) = space.file(space.read(content))
        assert expected.pixels is not None
        assert expected.code is not None
        assert expected.place is not None
        found = ask(
            page,
            "(b, text) => b.file(new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]))",
            base64.b64encode(content).decode(),
        )
        close = 0 if size == exact and kind != "RGBA" else 2
        assert apart(np.array(found["pixels"], np.uint8), expected.pixels.flatten().numpy()) <= close, (size, kind)
        scale = float(space.all_codes.abs().max())
        torch.testing.assert_close(torch.tensor(found["code"]), expected.code, rtol=0, atol=0.02 * scale)
        torch.testing.assert_close(torch.tensor(found["place"]), expected.place, rtol=0, atol=0.02 * scale)
    assert "can't be read as an image" in refusal(page, "(b) => b.file(new Blob(['no image']))")

    page.click("#tab-reconstruct")
    own = tmp_path / "own.png"
    own.write_bytes(content)
    page.set_input_files("#file", own)
    page.wait_for_selector("#reconstruction:not([hidden])")
    assert apart(pixels_of(page, "#reconstructed"), decoded(space.model, code_of(page))) <= 2


def test_a_picture_is_let_go_of_once_it_has_been_read(open_page: Open, digits: Dataset, tmp_path: Path) -> None:
    page = open_page(stored.write(space_of("vae", digits, limit=20), tmp_path / "latent.html").path.as_uri())
    left = ask(
        page,
        """async (b, text) => {
            const made = [];
            const create = globalThis.createImageBitmap;
            globalThis.createImageBitmap = async (...given) => (made.push(await create(...given)), made.at(-1));
            await b.file(new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]));
            return made.map((each) => each.width * each.height);
        }""",
        base64.b64encode(picture_file((40, 30), "L")).decode(),
    )
    assert left == [0]
    closed = ask(
        page,
        """async (b) => {
            let closed = 0;
            globalThis.createImageBitmap = async () => ({ width: 9000, height: 9000, close: () => closed++ });
            await b.file(new Blob()).catch((error) => error.message.includes("too large") && closed++);
            return closed;
        }""",
    )
    assert closed == 2


# ---------------------------------------------------------------------------------------------------------------------
# What is too large, or can't be done
# ---------------------------------------------------------------------------------------------------------------------


def unlike(model: GenerativeModel) -> GenerativeModel:
    """The same with another activation in its decoder, of a kind that isn't among the steps."""
    for module in model.decoder.modules():  # type: ignore[union-attr]
        for name, child in module.named_children():
            if isinstance(child, nn.GELU):
                setattr(module, name, nn.GELU("tanh"))
    return model


@pytest.mark.parametrize("latent", [2, 6])
def test_a_lattice_says_that_it_is_approximate_and_what_is_missing(
    open_page: Open, coloured: Dataset, tmp_path: Path, latent: int
) -> None:
    space = space_of("vae", coloured, latent_dim=latent)
    unlike(space.model)
    for parameter in space.model.decoder.parameters():  # type: ignore[union-attr,operator]
        parameter.data *= 4  # or its pictures would hardly depend on the code
    written = stored.write(space, tmp_path / "latent.html")
    assert (written.mode, written.difference) == ("lattice", None)
    assert written.size < 5_000_000
    page = open_page(written.path.as_uri())
    banner = page.inner_text("#approximate")
    assert banner.startswith("Pictures are approximate.")
    assert "gelu by tanh" in banner
    side = int(re.search(r"(\d+)×\1 places", banner)[1])  # type: ignore[index]

    # On the lattice it is the model's picture but for JPEG; between four places it is their mean.
    low, high = stored.edges(space)
    step = (high - low) / (side - 1)
    corners = []
    for column, row in [(3, 5), (4, 5), (3, 6), (4, 6)]:
        x, y = (low + step * torch.tensor([column, row])).tolist()
        found = ask(page, "(b, x, y) => b.under(x, y)", x, y)
        corners.append(np.array(found["pixels"], float))
        code, picture = space.under(x, y)
        _, mirrored = space.under(*(low + high - torch.tensor([x, y])).tolist())
        error, other = (np.abs(corners[-1] - each.flatten().numpy()).mean() for each in (picture, mirrored))
        assert error < 8
        assert error < 0.7 * other
        torch.testing.assert_close(torch.tensor(found["code"]), code, rtol=1e-4, atol=1e-4)
    x, y = (low + step * torch.tensor([3.25, 5.5])).tolist()
    between = np.array(ask(page, "(b, x, y) => b.under(x, y)", x, y)["pixels"], float)
    expected = (0.75 * (corners[0] + corners[2]) + 0.25 * (corners[1] + corners[3])) / 2
    assert np.abs(between - expected).max() <= 1.5
    beyond = ask(page, "(b, x, y) => b.under(x, y)", *(high + 9).tolist())["pixels"]
    assert beyond == ask(page, "(b, x, y) => b.under(x, y)", *high.tolist())["pixels"]

    assert "can't encode" in refusal(page, "(b) => b.file(new Blob())")
    code = space.all_codes[0].tolist()
    if latent == 2:  # whose codes are all on the map
        found = ask(page, "(b, z) => b.decode(Float32Array.from(z))", code)
        assert np.abs(np.array(found) - space.decode(space.all_codes[:1]).flatten().numpy()).mean() < 6
        assert len(ask(page, "(b) => b.sum([{sign: 1, term: 'point:2'}])")["pixels"]) == ODD.numbers
    else:
        reason = refusal(page, "(b, z) => b.decode(Float32Array.from(z))", code)
        assert "places on the map only" in reason
        assert refusal(page, "(b) => b.sum([{sign: 1, term: 'point:2'}])") == reason
        page.click("#tab-sliders")
        assert reason in page.inner_text("#panel-sliders")
    assert ask(page, "(b) => b.originals([3])") == space.originals(torch.tensor([3])).flatten().tolist()


def test_what_does_not_fit_is_left_out_the_encoder_first(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = space_of("vae", digits, limit=100)
    modes = []
    for limit in (5_000_000, 520_000, 380_000, 300_000):
        monkeypatch.setattr(stored, "LIMIT", limit)
        written = stored.write(space, tmp_path / "latent.html")
        assert written.size == written.path.stat().st_size < limit
        text = written.path.read_text()
        modes.append((written.mode, '"encoder":{"steps"' in text, '"lattice"' in text))
    assert modes[0] == ("decoder", True, False)
    assert modes[-1] == ("decoder", False, False)
    assert modes == sorted(modes, reverse=True)
    monkeypatch.setattr(stored, "LIMIT", 800_000)
    large = space_of_width(512, digits)
    written = stored.write(large, tmp_path / "latent.html")
    assert (written.mode, written.size < 800_000) == ("lattice", True)
    assert any("too large for a file" in note for note in written.notes)
    monkeypatch.setattr(stored, "LIMIT", 130_000)
    with pytest.raises(GenkitError, match="don't fit"):
        stored.write(space, tmp_path / "other.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["latent.html"]


def test_weights_are_kept_in_full_where_rounding_is_seen(digits: Dataset, tmp_path: Path) -> None:
    space = space_of("vae", digits, limit=100)
    halved = stored.write(space, tmp_path / "halved.html")
    for parameter in space.model.decoder.parameters():  # type: ignore[union-attr,operator]
        parameter.data *= 40
    whole = stored.write(space, tmp_path / "whole.html")
    assert '"weights":{"half":true' in halved.path.read_text()
    assert '"weights":{"half":true' not in whole.path.read_text()
    assert whole.difference is not None
    assert whole.difference <= 1


# ---------------------------------------------------------------------------------------------------------------------
# The file itself
# ---------------------------------------------------------------------------------------------------------------------


def test_names_are_text_wherever_they_stand(open_page: Open, digits: Dataset, tmp_path: Path) -> None:
    run = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>\u2028\"'&amp;"
    model = small_model("vae", DIGIT, latent_dim=2, hidden=(8,)).eval()
    page = open_page(stored.write(space(model, digits, run=run, limit=20), tmp_path / "latent.html").path.as_uri())
    assert ask(page, "(b) => b.about()")["run"] == run
    assert page.title() == f"{run} · genkit explore".replace("\u2028", " ") or run in page.title()
    assert page.locator("img").count() == 0
    assert page.inner_text("#run").startswith("</script>")


def test_nothing_runs_but_its_own_scripts(browser: Browser, digits: Dataset, tmp_path: Path) -> None:
    model = small_model("vae", DIGIT, latent_dim=2, hidden=(8,)).eval()
    path = stored.write(space(model, digits, limit=20), tmp_path / "latent.html").path
    path.write_text(path.read_text().replace("</body>", "<script>document.title = 'taken'</script></body>"))
    with opening(browser, tolerated=("Content Security Policy",)) as open_page:
        page = open_page(path.as_uri())
        assert "taken" not in page.title()
        for forbidden in ("fetch('http://127.0.0.1:9/')", "import('data:text/javascript,1')"):
            assert page.evaluate(f"{forbidden}.then(() => 'done', () => 'refused')") == "refused"


def test_only_a_page_of_ours_is_replaced(genkit: Genkit, vae_run: Path, digits: Dataset, tmp_path: Path) -> None:
    notes = tmp_path / "notes.html"
    notes.write_text("<!doctype html><title>my notes</title>")
    link = tmp_path / "link.html"
    link.symlink_to(tmp_path / "nowhere")
    for path in (notes, link, tmp_path):
        with pytest.raises(UsageError, match="no page that genkit explore wrote"):
            stored.check(path)
    outcome = genkit("explore", vae_run, "--export", notes, "--device", "cpu")
    assert outcome.code == 2
    assert "my notes" in notes.read_text()
    model = small_model("vae", DIGIT, latent_dim=2, hidden=(8,)).eval()
    path = tmp_path / "latent.html"
    stored.write(space(model, digits, run="first", limit=20), path)
    stored.write(space(model, digits, run="second", limit=20), path)
    assert "run second" in path.read_text()
    assert "run first" not in path.read_text()
