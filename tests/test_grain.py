"""The grain of drawn tissue: what its waves are, and how strong kind and parcel make them."""

import numpy as np
import pytest

from slpd.synthetic.grain import LENGTHS_PX, N_DIRECTIONS, N_WAVES, TILE_PX, Grain, draw_grain, grain_of_kinds, waves


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


def test_kinds_have_the_same_grain_in_all_cohorts() -> None:
    assert (grain_of_kinds(6, 0.5) == grain_of_kinds(6, 0.5)).all()
    assert grain_of_kinds(200, 0.5).std() == pytest.approx(0.5, rel=0.05)
