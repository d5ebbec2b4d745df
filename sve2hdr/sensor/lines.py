"""Finds whole rows and columns that are dead or stuck: the same counts all along, whatever the light."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..layout import source_index
from ..mosaic import ExposurePattern, Mosaic, cfa_period, over_common_period
from ..radiance import NoiseModel

SAMPLE = 64  # sites of each line that are tested first
SHARE = 0.95  # of its sites decide: the rest may be hot or cold

NINE_TENTHS = 3.29  # width in standard deviations that holds nine tenths of Gaussian noise
STEADY_SIGMAS = 8.0  # such a width, in read noise, of a line without light: there may be more noise than measured

DEAD_SHARE = 0.1  # of the level of its neighbours on both sides: a dead line has less
LIT_SIGMAS, LIT_SHARE = 30.0, 0.5  # of read noise: neighbours above are lit; the share of a dead line's that must be
UNSHADED = 0.7  # of the usual light is left beside a dead line; a dark bar in the scene shades its surroundings as well

QUIET = 0.5  # of the shot noise of its level: a stuck line has less
SHOT_OF_READ = 2.0  # least noise for this test with that shot noise, in units of read noise
FOREIGN_SIGMAS, FOREIGN_SHARE = 6.0, 0.5  # least distance of a stuck line from its neighbours' mean; share of it
MOST_OF_RANGE = 0.9  # from black to white: above this it may be saturated

FEW, FEW_SHARE = 4, 0.01  # most lines of one direction; if there are more, they are a pattern in the scene


def stuck_lines(mosaic: Mosaic, pattern: ExposurePattern, noise: NoiseModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and the columns that have the same counts all along, whatever the light: two index arrays.

    In a scene, no line is black between two lit ones, or without shot noise. Lines that are only partly dead or stuck
    are not found, nor are adjacent dead lines, nor stuck ones in a frame without noise.

    >>> light = np.random.default_rng(0).normal(1000, 30, (64, 96)).astype(np.uint16)
    >>> light[:, 41] = 102
    >>> frame = Mosaic(light, "RGGB", np.full((2, 2), 100, np.float32), 16_000.0, np.eye(3))
    >>> noise = NoiseModel(np.full((1, 1), 1, np.float32), np.full((1, 1), 5, np.float32))
    >>> [lines.tolist() for lines in stuck_lines(frame, ExposurePattern(np.ones((1, 1), np.float32)), noise)]
    [[], [41]]
    """
    parts = (mosaic.black_level, mosaic.white_by_site, noise.gain, noise.read_noise**2)
    _, _, *parts_of_cell = over_common_period(cfa_period(mosaic.cfa), pattern.exposure, *parts)
    black, white, gain, read_variance = (part.astype(np.float32) for part in parts_of_cell)
    levels = (black, white - black, gain, read_variance)
    return _stuck_columns(mosaic.counts.T, [part.T for part in levels]), _stuck_columns(mosaic.counts, levels)


def _stuck_columns(counts: np.ndarray, levels: Sequence[np.ndarray]) -> np.ndarray:
    (height, width), period = counts.shape, levels[0].shape
    if height < SAMPLE or width < 5 * period[1]:
        return np.zeros(0, np.intp)
    starts = np.linspace(0, height // period[0] - 1, max(1, SAMPLE // period[0])).astype(np.intp) * period[0]
    sample = (starts[:, None] + np.arange(period[0])).ravel()
    columns = np.arange(width)
    columns = columns[_stuck(counts[sample], sample, columns, levels)]
    if len(columns):
        columns = columns[_stuck(counts, np.arange(height), columns, levels)]
    return np.asarray(columns if len(columns) <= max(FEW, FEW_SHARE * width) else columns[:0])


def _stuck(counts: np.ndarray, rows: np.ndarray, columns: np.ndarray, levels: Sequence[np.ndarray]) -> np.ndarray:
    """Return which of `columns` are stuck, (N,) bool, judged by `counts`, (M, width), of these rows of a frame."""
    _, span, gain, read_variance = (part[rows % part.shape[0]][:, columns % part.shape[1]] for part in levels)
    signal, left, right = _with_neighbours(counts, rows, columns, levels[0])
    read = np.sqrt(read_variance)
    level = np.median(signal, axis=0)
    low, high = np.quantile((signal - level) / read, (0.05, 0.95), axis=0)
    steady = high - low < STEADY_SIGMAS

    beside = np.minimum(left, right)
    lit = beside > LIT_SIGMAS * read
    contradicted = (lit & (signal > DEAD_SHARE * beside)).sum(axis=0)
    dead = (lit.mean(axis=0) > LIT_SHARE) & (contradicted <= (1 - SHARE) * lit.sum(axis=0))
    for step in (-1, 1):
        found = np.flatnonzero(steady & dead)
        dead[found] = _unshaded(counts, rows, columns[found] + step, levels[0], lit[:, found])

    sigma = np.sqrt(read_variance + gain * np.maximum(level, 0))
    excess = (sigma / read).min(axis=0)
    quiet = (excess > SHOT_OF_READ) & (high - low < QUIET * NINE_TENTHS * excess)
    foreign = (np.abs(signal - (left + right) / 2) > FOREIGN_SIGMAS * sigma).mean(axis=0) > FOREIGN_SHARE
    stuck = quiet & foreign & (level < MOST_OF_RANGE * span.min(axis=0))
    return np.asarray(steady & (dead | stuck))


def _with_neighbours(
    counts: np.ndarray, rows: np.ndarray, columns: np.ndarray, black: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the signal of columns, and on either side the brighter of the two nearest columns of their kind."""
    width, period = counts.shape[1], black.shape
    levels = black[rows % period[0]][:, columns % period[1]]
    signal, before, before_that, behind, behind_that = (
        counts[:, source_index(columns + step * period[1], 0, width, period[1])] - levels for step in (0, -1, -2, 1, 2)
    )
    return signal, np.maximum(before, before_that), np.maximum(behind, behind_that)  # one may be dead itself


def _unshaded(
    counts: np.ndarray, rows: np.ndarray, columns: np.ndarray, black: np.ndarray, lit: np.ndarray
) -> np.ndarray:
    """Return which columns, (N,) bool, mostly have the light of those of their kind around, where these are `lit`."""
    signal, left, right = _with_neighbours(counts, rows, columns, black)
    around = np.where(lit, np.maximum((left + right) / 2, 1), np.inf)
    share = np.where(lit, signal / around, np.nan)
    return np.asarray(np.nanmedian(share, axis=0) > UNSHADED if share.size else np.zeros(len(columns), bool))
