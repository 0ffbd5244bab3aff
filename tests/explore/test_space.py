from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Genkit, run_of, small_model
from PIL import Image
from torch import Tensor, nn

from genkit.contract import ImageShape, ability
from genkit.data.dataset import Dataset, Split
from genkit.errors import DataError, UsageError
from genkit.explore import chart
from genkit.explore.space import Space, Term
from genkit.keep import rundir
from genkit.latent import images, projection, sampling

PLACES = [(0.0, 0.0), (1.5, -0.25), (-3.0, 2.0), (40.0, -7.5)]
#: In so many parts a search looks at its thousand draws.
LOOKS = 32


def space_of(model: str, dataset: Dataset, **settings: object) -> Space:
    """The space of an untrained model, whose codes and images are as good as any for what is asked here."""
    torch.manual_seed(1)
    options = {"latent_dim": settings.pop("latent_dim", 6), "hidden": (32,), "width": 4}
    built = small_model(model, dataset.shape, **options).eval().requires_grad_(False)
    assert ability.generates(built)
    if model == "dcgan":  # whose first weights are so small that all its images are the same grey
        for parameter in built.generator.parameters():  # type: ignore[union-attr,operator]
            parameter.data *= 15
    names = (dataset.name, dataset.classes, dataset.attributes)
    return Space(built, "a run", lambda: dataset, names, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def flat(digits: Dataset) -> Space:
    return space_of("vae", digits)


@pytest.fixture(scope="module")
def scattered(digits: Dataset) -> Space:
    pytest.importorskip("sklearn")
    return space_of("vae", digits, method="tsne", limit=60)


@pytest.fixture(scope="module")
def seeds(digits: Dataset) -> Space:
    return space_of("dcgan", digits, limit=80)


@pytest.fixture(scope="module")
def coloured() -> Dataset:
    """Random colour images, wider than high, with attributes and without labels."""
    pixels = torch.randint(0, 256, (40, 3, 8, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    attributes = torch.stack([torch.arange(40) % 2 == 0, torch.arange(40) < 30], 1)
    every = Split(pixels, torch.arange(40), None, attributes)
    return Dataset("/somebody/scans", every, every.take(slice(0, 4)), every, (), ("even", "early"))


def test_points_are_known_by_their_position_in_the_split(digits: Dataset, flat: Space) -> None:
    space = space_of("vae", digits, limit=80)
    positions = space.about()["positions"]
    assert positions == digits.test.spread(80).tolist()
    some = torch.tensor([1, 40, 79])
    assert space.originals(some).flatten().tolist() == flat.originals(torch.tensor(positions)[some]).flatten().tolist()
    assert flat.about()["positions"] is None


# The map, and the way back


def test_codes_of_two_numbers_are_the_map_and_the_way_back_is_exact(digits: Dataset) -> None:
    space = space_of("vae", digits, latent_dim=2, method="tsne")
    assert space.about()["map"]["method"] == "native"
    assert space.points().equal(space.all_codes)
    for x, y in PLACES:
        code, _ = space.under(x, y)
        assert code.tolist() == [x, y]
        assert space.place(code[None]).tolist() == [[x, y]]


def test_codes_of_one_number_lie_on_a_line(digits: Dataset) -> None:
    space = space_of("vae", digits, latent_dim=1)
    assert space.points()[:, 0].equal(space.all_codes[:, 0])
    assert not space.points()[:, 1].any()
    assert space.under(2.5, 9.0)[0].tolist() == [2.5]
    assert space.place(torch.tensor([[2.5]])).tolist() == [[2.5, 0.0]]


def test_pca_is_the_plane_of_greatest_variance_through_the_mean_code(flat: Space) -> None:
    codes = flat.all_codes.double().numpy()
    mean = codes.mean(0)
    axes = np.linalg.svd(codes - mean, full_matrices=False)[2][:2]
    axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1))
    assert flat.points().numpy() == pytest.approx((codes - mean) @ axes.T, abs=1e-4)
    for x, y in PLACES:
        code, _ = flat.under(x, y)
        assert code.numpy() == pytest.approx(mean + x * axes[0] + y * axes[1], abs=1e-4)


def test_on_a_map_by_pca_what_is_under_a_place_lies_there(flat: Space) -> None:
    assert flat.about()["map"]["method"] == "pca"
    for x, y in PLACES:
        assert flat.place(flat.under(x, y)[0][None]).tolist()[0] == pytest.approx([x, y], abs=1e-4)
    assert flat.place(flat.all_codes).numpy() == pytest.approx(flat.points().numpy(), abs=1e-4)


def by_distance(query: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eight nearest points, and 1/distance, as shares."""
    distances = np.linalg.norm(points - query, axis=1)
    found = np.argsort(distances)[:8]
    weights = 1 / distances[found]
    return found, weights / weights.sum()


def test_on_a_map_by_tsne_it_is_the_mean_of_the_nearest_points(scattered: Space) -> None:
    assert scattered.about()["map"]["method"] == "tsne"
    assert scattered.about()["map"]["axes"] is None
    places, codes = scattered.chart.points.numpy(), scattered.all_codes.double().numpy()
    for x, y in [*PLACES, tuple(places[:2].mean(0))]:
        found, weights = by_distance(np.array([x, y]), places)
        assert scattered.under(x, y)[0].numpy() == pytest.approx(weights @ codes[found], abs=1e-4)
    between = codes[:2].mean(0)
    found, weights = by_distance(between, codes)
    place = scattered.place(torch.from_numpy(between).float()[None])[0]
    assert place.numpy() == pytest.approx(weights @ places[found], rel=1e-3, abs=1e-3)


def test_at_a_point_of_tsne_it_is_that_points_code_and_the_code_lies_there(scattered: Space) -> None:
    for index in (0, 7, 59):
        x, y = scattered.chart.points[index].tolist()
        assert scattered.under(x, y)[0].equal(scattered.all_codes[index])
    assert scattered.place(scattered.all_codes).equal(scattered.points())


def test_between_seeds_the_mean_code_gets_its_neighbours_length(seeds: Space) -> None:
    places, codes = seeds.chart.points.numpy(), seeds.all_codes.double().numpy()
    centre = seeds.mean.double().numpy()
    for place in [*(np.array(PLACES[:3]) * places.std(0)), places[:2].mean(0)]:
        found, weights = by_distance(place, places)
        x, y = place.tolist()
        mean = weights @ codes[found] - centre
        length = weights @ np.linalg.norm(codes[found] - centre, axis=1)
        code = seeds.under(x, y)[0].double().numpy() - centre
        assert np.linalg.norm(code) == pytest.approx(length, rel=1e-5)
        assert code / length == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
        assert length > 1.05 * np.linalg.norm(mean)  # or there would be nothing to make good
    x, y = seeds.chart.points[5].tolist()
    assert seeds.under(x, y)[0].numpy() == pytest.approx(codes[5], abs=1e-5)


def test_the_map_of_seeds_shows_what_the_discriminator_sees_in_their_samples(seeds: Space) -> None:
    with torch.no_grad():
        features = seeds.model.features(seeds.model.decode(sampling.seed_codes(seeds.model, range(80))))
    expected = projection.project(features, "pca")
    assert seeds.points().numpy() == pytest.approx(expected.points, abs=1e-4)
    assert seeds.about()["map"]["axes"] == list(expected.axes or ())
    assert seeds.place(seeds.all_codes).numpy() == pytest.approx(seeds.points().numpy(), abs=1e-4)
    others = sampling.seed_codes(seeds.model, range(500, 505))
    with torch.no_grad():
        seen = seeds.model.features(seeds.model.decode(others))
    assert expected.principal is not None
    places = (seen.double() - expected.principal.mean) @ expected.principal.axes.double()
    assert seeds.place(others).numpy() == pytest.approx(places.numpy(), abs=1e-3)


def test_a_gan_of_two_latent_numbers_is_its_own_map(digits: Dataset) -> None:
    space = space_of("dcgan", digits, latent_dim=2, limit=30)
    assert space.about()["map"]["method"] == "native"
    assert space.points().equal(sampling.seed_codes(space.model, range(30)))
    assert space.under(0.5, -2.0)[0].tolist() == [0.5, -2.0]
    assert space.near(space.all_codes[4])[0] == 4


def test_a_far_point_of_many_is_found_among_the_near(flat: Space, seeds: Space) -> None:
    code = flat.all_codes[17] + 1e-3
    distances = (flat.all_codes - code).double().norm(dim=1)
    assert flat.near(code).tolist() == distances.argsort()[:8].tolist()
    assert flat.near(code)[0] == 17
    assert seeds.near(seeds.all_codes[33])[0] == 33
    assert len(chart.nearest(torch.zeros(1, 2), torch.ones(3, 2), 8)[1][0]) == 3


def test_limit_takes_evenly_spaced_images(digits: Dataset) -> None:
    space = space_of("vae", digits, limit=50)
    assert space.about()["count"] == 50
    chosen = digits.test.images(digits.test.spread(50))
    assert space.originals(torch.arange(50)).permute(0, 3, 1, 2).equal(chosen)


# Codes and images


@pytest.mark.parametrize("name", ["flat", "scattered", "seeds"])
def test_images_are_the_samplers_within_a_rounding(name: str, request: pytest.FixtureRequest) -> None:
    space: Space = request.getfixturevalue(name)
    codes = 2 * torch.randn(5, space.latent_dim)
    expected = images.to_uint8(sampling.decode(space.model, codes)).permute(0, 2, 3, 1)
    for some in (codes, codes[:1]):
        assert (space.decode(some).int() - expected[: len(some)].int()).abs().max() <= 1
    code, pixels = space.under(0.5, -0.5)
    assert pixels.equal(space.decode(code[None])[0])


def test_codes_are_the_encoders_and_seeds_the_samplers(flat: Space, seeds: Space, digits: Dataset) -> None:
    originals = images.to_float(digits.test.images(torch.tensor([3, 99])))
    assert torch.allclose(flat.codes(torch.tensor([3, 99])), sampling.encode(flat.model, originals), atol=1e-5)
    for space in (flat, seeds):
        assert space.seeds([0, 5, 2**32 - 1]).equal(sampling.seed_codes(space.model, [0, 5, 2**32 - 1]))
    assert seeds.codes(torch.tensor([7, 0])).equal(sampling.seed_codes(seeds.model, [7, 0]))
    assert seeds.originals(torch.tensor([7])).equal(seeds.decode(seeds.all_codes[7:8]))


def test_colour_images_have_their_channels_last(coloured: Dataset) -> None:
    space = space_of("vae", coloured)
    assert space.originals(torch.tensor([2]))[0].equal(coloured.test.storage[2].permute(1, 2, 0))
    assert space.decode(torch.zeros(1, 6)).shape == (1, 8, 12, 3)
    assert space.about()["image"] == {"channels": 3, "height": 8, "width": 12}


def test_points_are_coloured_by_class_or_by_each_attribute(flat: Space, seeds: Space, coloured: Dataset) -> None:
    assert [each["name"] for each in flat.about()["colorings"]] == ["class"]
    assert flat.split is not None
    assert flat.labels().tolist() == [flat.split.labels.tolist()]  # type: ignore[union-attr]
    space = space_of("vae", coloured)
    names = [("even", ["not even", "even"]), ("early", ["not early", "early"])]
    assert [(each["name"], each["names"]) for each in space.about()["colorings"]] == names
    assert space.labels().tolist() == [[1, 0] * 20, [1] * 30 + [0] * 10]
    assert seeds.labels().shape == (0, 80)
    assert seeds.about()["terms"]["labels"] == [str(digit) for digit in range(10)]


def test_about_says_what_is_shown_without_where_it_lies(flat: Space, seeds: Space, coloured: Dataset) -> None:
    about = space_of("vae", coloured, split="val").about()
    assert (about["dataset"], about["points_are"], about["encoder"]) == ("scans", "validation images", True)
    assert (flat.about()["run"], flat.about()["model"], flat.about()["count"]) == ("a run", "vae", 500)
    about = seeds.about()
    assert (about["seeds_map"], about["points_are"]) == (True, "samples")
    assert "no encoder" in about["encoder"]
    assert len(about["prior"]["mean"]) == len(about["prior"]["spread"]) == 6


def test_the_dimensions_that_change_the_image_most_come_first(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_of("vae", digits, latent_dim=4, limit=20)
    first = next(
        module for module in space.model.modules() if isinstance(module, nn.Linear) and module.in_features == 4
    )
    first.weight.data = first.weight.data[:, :1] * torch.tensor([0.5, 0.0, 2.0, -1.0])
    assert space.strongest() == [2, 3, 0, 1]
    monkeypatch.setattr("genkit.explore.space.SWEPT", 2)
    space.all_codes = space.all_codes * torch.tensor([0.0, 5.0, 5.0, 0.0])
    assert space.strongest() == [2, 1]


@pytest.mark.parametrize("name", ["vae", "dcgan"])
def test_codes_and_samples_that_are_not_finite_are_refused(name: str, digits: Dataset) -> None:
    model = small_model(name, digits.shape, hidden=(32,), latent_dim=6, width=4).eval()
    next(model.parameters()).data.fill_(torch.nan)
    with pytest.raises(DataError, match="training diverged"):
        Space(model, "a run", lambda: digits, ("digits", (), ()), limit=20)  # type: ignore[arg-type]


# Sums


def saved_sum(genkit: Genkit, run: Path, expression: str, out: Path) -> tuple[Tensor, Tensor]:
    """The code that `genkit sample --arithmetic` comes to, and its image."""
    outcome = genkit("sample", run, "--arithmetic", expression, "--npz", "--out", out, "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.err
    with np.load(outcome.json["files"]["npz"]) as archive:
        arrays = dict(archive)
    return torch.from_numpy(arrays["codes"][4]), torch.from_numpy(arrays["images"][4])


def space_of_run(run: Path, dataset: Dataset) -> Space:
    opened = rundir.find(str(run)).read()
    names = (dataset.name, dataset.classes, dataset.attributes)
    return Space(opened.model, run.name, lambda: dataset, names)  # type: ignore[arg-type]


def test_a_sum_is_that_of_the_sample_command(runs: Path, digits: Dataset, genkit: Genkit, tmp_path: Path) -> None:
    run = run_of(runs, "vae")
    space = space_of_run(run, digits)
    code, image = saved_sum(genkit, run, "label:7 - label:1 + label:4", tmp_path)
    result = space.sum([Term(1, "label:7"), Term(-1, "label:1"), Term(1, "label:4")])
    assert torch.allclose(result.code, code, atol=1e-5)
    assert (result.pixels.int() - image.permute(1, 2, 0).int()).abs().max() <= 1
    labels = [digits.test.labels[points].tolist() for points in result.terms]  # type: ignore[index]
    assert labels == [[7] * 3, [1] * 3, [4] * 3]
    pixels = digits.test.images(torch.tensor(result.terms).flatten()).float().unflatten(0, (3, 3)).mean(1)
    control = (pixels[0] - pixels[1] + pixels[2]).clamp(0, 255).round().permute(1, 2, 0)
    assert (result.control.int() - control.int()).abs().max() <= 1
    assert result.near.equal(space.near(result.code))


def test_a_sum_of_a_model_without_encoder_too(runs: Path, digits: Dataset, genkit: Genkit, tmp_path: Path) -> None:
    run = run_of(runs, "dcgan")
    space = space_of_run(run, digits)
    code, _ = saved_sum(genkit, run, "@5 - @6 + @7", tmp_path)
    assert torch.allclose(space.sum([Term(1, "seed:5"), Term(-1, "seed:6"), Term(1, "seed:7")]).code, code, atol=1e-6)
    code, _ = saved_sum(genkit, run, "label:3 - @6", tmp_path)
    for _ in range(2):  # the second time without a search
        result = space.sum([Term(1, "label:3"), Term(-1, "seed:6")])
        assert torch.allclose(result.code, code, atol=1e-4)
        assert result.terms == [[], []]
    assert list(space.searched) == ["label:3"]


def test_what_a_sum_must_search_for_is_searched_for_step_by_step(seeds: Space, flat: Space) -> None:
    terms = [Term(1, "label:3"), Term(-1, "seed:6"), Term(1, "point:2"), Term(1, "", torch.zeros(6))]
    assert len(list(flat.prepare(terms))) == 0
    steps = 0
    for _ in seeds.prepare(terms):
        steps += 1
        seeds.under(1.0, 2.0)  # as a drag does meanwhile
    assert steps == LOOKS + 300
    assert len(list(seeds.prepare(terms))) == 0
    originals = seeds.searched["label:3"][0]
    assert seeds.searched["label:3"][1].equal(sampling.invert(seeds.model, originals))
    assert (seeds.dataset().test.labels[seeds.chosen("label:3")] == 3).all()  # type: ignore[index]


def test_of_the_terms_that_are_remembered_the_oldest_are_forgotten(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genkit.explore.space.SEARCH", 1)
    monkeypatch.setattr("genkit.explore.space.KEPT", 2)
    space = space_of("dcgan", digits, limit=20)
    for labels in ((1, 2), (1, 3)):  # the second sum must not lose what it has of the first
        for _ in space.prepare([Term(1, f"label:{label}") for label in labels]):
            pass
    assert list(space.searched) == ["label:1", "label:3"]


def test_points_and_codes_can_be_terms(flat: Space) -> None:
    pixels = torch.full((28, 28, 1), 200, dtype=torch.uint8)
    code = torch.arange(6.0)
    result = flat.sum([Term(1, "point:12"), Term(-1, "", code, pixels), Term(1, "", code)])
    assert result.code.equal(flat.all_codes[12] - code + code)
    assert result.terms == [[12], [], []]
    control = flat.originals(torch.tensor([12]))[0].int() - 200 + flat.decode(code[None])[0].int()
    assert (result.control.int() - control.clamp(0, 255)).abs().max() <= 1


def test_attributes_can_be_terms(coloured: Dataset) -> None:
    result = space_of("vae", coloured).sum([Term(1, "even&!early")])
    assert len(result.terms[0]) == 3
    assert all(point % 2 == 0 and point >= 30 for point in result.terms[0])


@pytest.mark.parametrize(
    "text",
    [
        "label:17",
        "smiling",
        "point:500",
        "point:-1",
        "point:",
        "point:1e2",
        "point:²",
        "seed:4294967296",
        "@3",
        "a.png",
    ],
)
def test_terms_that_mean_nothing_here_are_refused(text: str, flat: Space) -> None:
    with pytest.raises(UsageError) as refusal:
        flat.sum([Term(1, text)])
    assert "--arithmetic" not in str(refusal.value)


# Images of one's own


def as_file(image: Tensor) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image.numpy()).save(content, format="PNG")
    return content.getvalue()


def test_a_file_becomes_what_the_sample_command_makes_of_it(flat: Space, digits: Dataset, tmp_path: Path) -> None:
    picture = torch.randint(0, 256, (50, 40, 3), dtype=torch.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(as_file(picture))
    image = flat.read(path.read_bytes())
    assert image.equal(images.read_image(path, digits.shape))
    (found,) = flat.file(image)
    assert found.code is not None
    assert found.code.equal(sampling.encode(flat.model, image[None])[0])
    assert found.place is not None
    assert found.place.equal(flat.place(found.code[None])[0])
    assert found.pixels is not None
    assert images.to_float(found.pixels).permute(2, 0, 1).equal(image)
    with pytest.raises(DataError, match="is no image"):
        flat.read(b"no image")


def test_without_an_encoder_a_code_is_searched_for_and_others_are_let_in(seeds: Space, digits: Dataset) -> None:
    image = images.to_float(digits.test.images(torch.tensor([4])))[0]
    expected = sampling.invert(seeds.model, image[None])[0]
    dones = []
    for found in seeds.file(image):
        dones.append((found.done, found.of))
        seeds.under(1.0, 2.0)  # as a drag does meanwhile
    assert dones == [(0, 300)] * (LOOKS - 1) + [(step, 300) for step in range(301)]
    assert found.code is not None
    assert found.code.equal(expected)


def test_a_search_begins_with_the_best_of_the_draws_and_gets_nearer(seeds: Space) -> None:
    target = seeds.model.decode(sampling.seed_codes(seeds.model, [3]))
    steps = [codes for _, codes in sampling.inversion(seeds.model, target, steps=60, draws=2)]
    errors = [(sampling.decode(seeds.model, codes) - target).square().sum().item() for codes in steps]
    assert len(errors) == 61
    assert errors[-1] < 0.95 * errors[0]
    first = next(sampling.inversion(seeds.model, target, draws=5))
    assert first.codes.equal(sampling.seed_codes(seeds.model, [3]))


def test_a_search_lets_others_in_while_it_looks_at_its_draws(seeds: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    target = seeds.model.decode(sampling.seed_codes(seeds.model, [70]))
    decode, sizes = seeds.model.decode, [0]

    def counted(codes: Tensor) -> Tensor:
        sizes[-1] += len(codes)
        return decode(codes)

    monkeypatch.setattr(seeds.model, "decode", counted)
    for _, codes in sampling.inversion(seeds.model, target, steps=0, draws=100):  # noqa: B007 (the last are meant)
        sizes.append(0)
    assert max(sizes) <= sampling.CHUNK
    assert codes.equal(sampling.seed_codes(seeds.model, [70]))


def test_a_search_leaves_no_gradient_in_the_model(digits: Dataset) -> None:
    model = small_model("dcgan", ImageShape(1, 28, 28), width=4, latent_dim=6).eval()
    assert ability.generates(model)
    sampling.invert(model, images.to_float(digits.test.images(torch.tensor([4]))), steps=2, draws=2)
    assert all(parameter.grad is None for parameter in model.parameters())
