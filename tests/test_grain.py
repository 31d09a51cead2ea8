"""The grain of drawn tissue: what its waves are, and how strong kind and parcel make them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from slpd.settings.synthetic import ProceduralCohort
from slpd.synthetic.grain import LENGTHS_PX, N_DIRECTIONS, N_WAVES, TILE_PX, Grain, draw_grain, grain_of_kinds, waves
from slpd.synthetic.phenotypes import NAMES, PHENOTYPES
from slpd.synthetic.procedural import DrawnTissue, lay_out
from slpd.synthetic.procedural_cohort import grain_of_slide
from slpd.synthetic.seeding import named_rng


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def spectrum(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power of a square picture, length in pixels and direction in radians (0 to pi) of its waves."""
    y, x = np.meshgrid(np.fft.fftfreq(len(wave)), np.fft.fftfreq(len(wave)), indexing="ij")
    with np.errstate(divide="ignore"):
        return np.abs(np.fft.fft2(wave)) ** 2, 1 / np.hypot(y, x), np.arctan2(y, x) % np.pi


@pytest.mark.parametrize("number", [0, N_DIRECTIONS - 1, N_WAVES - N_DIRECTIONS + 2])
def test_a_wave_has_its_length_and_its_direction(number: int) -> None:
    power, length, direction = spectrum(waves()[number])
    wanted, turn = LENGTHS_PX[number // N_DIRECTIONS], np.pi * (number % N_DIRECTIONS) / N_DIRECTIONS
    away = np.abs(np.angle(np.exp(2j * (direction - turn)))) / 2
    within = (np.abs(np.log2(length / wanted)) < 0.5) & (away < 0.6)
    assert power[within].sum() > 0.9 * power.sum()


def test_waves_have_variance_one_and_do_not_go_together() -> None:
    of_waves = np.cov(waves().reshape(N_WAVES, -1))
    np.testing.assert_allclose(np.diag(of_waves), 1, rtol=1e-3)
    assert np.abs(of_waves - np.diag(np.diag(of_waves))).max() < 0.1


def test_a_kind_has_the_waves_that_it_is_given(rng: np.random.Generator) -> None:
    kinds = np.full((2, N_WAVES), -20.0)  # none
    kinds[0, 3], kinds[1, 9] = 0, np.log(2)
    kind = np.zeros((TILE_PX, TILE_PX), np.uint8)
    kind[:, TILE_PX // 2 :] = 1
    log = np.log(draw_grain(Grain(0.1, kinds, 0), kind, np.zeros(kind.shape, np.intp), rng))
    assert log[:, : TILE_PX // 2].std() == pytest.approx(0.1, rel=0.1)
    assert log[:, TILE_PX // 2 :].std() == pytest.approx(0.2, rel=0.1)
    power, _, direction = spectrum(log[:, TILE_PX // 2 :][: TILE_PX // 2])
    away = np.abs(np.angle(np.exp(2j * (direction - np.pi * (9 % N_DIRECTIONS) / N_DIRECTIONS)))) / 2
    assert power[away < 0.6].sum() > 0.9 * power.sum()


def test_parcels_differ_by_their_spread(rng: np.random.Generator) -> None:
    side, n = 128, 100
    parcel = np.arange(n).repeat(side).reshape(1, -1).repeat(side, axis=0)
    kinds = np.full((1, N_WAVES), -20.0)
    kinds[0, 0] = 0
    log = np.log(draw_grain(Grain(0.1, kinds, 0.5), np.zeros(parcel.shape, np.uint8), parcel, rng))
    strengths = np.log(log.reshape(side, n, side).std(axis=(0, 2)))
    assert strengths.mean() == pytest.approx(np.log(0.1), abs=0.2)
    assert strengths.std() == pytest.approx(0.5, abs=0.12)


def test_without_grain_nothing_is_changed(rng: np.random.Generator) -> None:
    kind = np.zeros((40, 50), np.uint8)
    factors = draw_grain(Grain(0, np.zeros((1, N_WAVES)), 0.5), kind, kind.astype(np.intp), rng)
    assert (factors == 1).all()


def test_no_wave_is_stronger_than_tissue_bears(rng: np.random.Generator) -> None:
    kinds = np.full((1, N_WAVES), -20.0)
    kinds[0, 5] = 9
    kind = np.zeros((TILE_PX, TILE_PX), np.uint8)
    log = np.log(draw_grain(Grain(0.1, kinds, 0), kind, kind.astype(np.intp), rng))
    assert log.std() == pytest.approx(0.2, rel=0.01)


def test_kinds_differ_by_their_spread() -> None:
    assert grain_of_kinds(200, 0.5).std() == pytest.approx(0.5, rel=0.05)


COHORT: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "config/demo_cohort.yaml").read_text())
NONE = {f"grain_of_{which}": 0 for which in ("kinds", "patients", "slides", "parcels")}


def grain_of(seed: int, patient: str, slide: str, **spreads: float) -> np.ndarray:
    settings = ProceduralCohort.model_validate(COHORT | NONE | spreads | {"seed": seed})
    return grain_of_slide(settings, named_rng(seed, patient), named_rng(seed, slide)).kinds


def test_kinds_have_the_same_grain_in_all_cohorts_patients_and_slides() -> None:
    one, other = grain_of(1, "a", "a-1", grain_of_kinds=0.5), grain_of(2, "b", "b-1", grain_of_kinds=0.5)
    assert (one == other).all()
    assert (one.std(axis=0) > 0).all()


def test_slides_of_a_patient_share_what_is_the_patients() -> None:
    first, second = grain_of(1, "a", "a-1", grain_of_patients=0.5), grain_of(1, "a", "a-2", grain_of_patients=0.5)
    assert (first == second).all()
    assert (first != grain_of(1, "b", "b-1", grain_of_patients=0.5)).all()
    assert (first.std(axis=0) > 0).all()


def test_all_kinds_of_a_slide_share_what_is_the_slides() -> None:
    first, second = grain_of(1, "a", "a-1", grain_of_slides=0.5), grain_of(1, "a", "a-2", grain_of_slides=0.5)
    assert (first == first[0]).all()
    assert (first != second).all()


def test_a_parcel_is_a_square_with_a_number_of_its_own(rng: np.random.Generator) -> None:
    """Its borders waver; its middle does not."""
    shares = {"gland": 0.5, "fat": 0.5}
    grain = Grain(0, np.zeros((len(NAMES), N_WAVES)), 0)
    tissue = DrawnTissue(0.8, PHENOTYPES, shares, 150, 84, 0, 45, grain)  # type: ignore[arg-type]
    parcel = lay_out((504, 672), tissue, rng).parcel  # 3 x 4 parcels of 168 px
    middles = parcel.reshape(3, 168, 4, 168)[:, 40:128, :, 40:128]
    numbers = middles[:, 44, :, 44]
    assert (middles == numbers[:, None, :, None]).all()
    assert len(np.unique(numbers)) == 12
