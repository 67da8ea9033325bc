"""Gaussian classes with one covariance, in integers. C twin: firmware/learn/gaussian.h.

From exact integer sums to a linear classifier and Mahalanobis distances, so that what is computed
depends on which samples there were and not on their order. `Qn` has n fraction bits. What
is clipped without a count is out of reach of sums of samples, but not of what a host may write.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from spikelet.graph.tensor import Array
from spikelet.learn.numbers.fixed import bit_length, divide, isqrt, mean, saturate, shift_round

MEAN = 14  # fraction bits of a mean
UNIT = 32767  # 1.0 in the factor, as a square root of UNIT^2, nearly 1.0 in Q30
LEAST_PIVOT = 1 << 10  # of the factor: 1/32
WHITE = 16  # fraction bits of whitened features
REACH = (1 << 11) - 1  # the largest magnitude of a feature
FAR = REACH + 1 << MEAN  # more than any mean
WIDEST = 1 << 48  # more than any covariance that samples have
MOST = (1 << 18) - 1  # samples, so that a remainder with MEAN more bits fits 32
BIAS = 1 << 30  # the largest bias
DISTANCE = 8  # fraction bits of a distance


@dataclass
class Solved:
    """A linear classifier and what a distance needs.

    Attributes:
        weight: (C, D) int16, units of 2^(exponent - 16).
        bias: (C,) int32, of the same units.
        exponent: 0 to 15.
        centre: (D,) int32 Q14, the mean of all samples.
        inverse: (D,) int32 Q30, 1 / standard deviation, at most 1.0.
        factor: (D * (D + 1) / 2,) int16 Q15, Cholesky factor of the correlations, row by row.
        saturations: values and pivots that were clipped.
    """

    weight: Array
    bias: Array
    exponent: int
    centre: Array
    inverse: Array
    factor: Array
    saturations: int


def solve(count: Array, total: Array, moment: Array, prior: int) -> Solved:
    """Classifier of the sums.

    Within-class covariance W = moments - sum over c of total total' / count, its diagonal raised
    by one code squared a sample; correlations shrunk by prior / (samples + prior), but never by
    less than 1/64, to the identity. With x = solution of (correlations) x = standardised mean,
    score(f) = f'x - (mean + centre)'x / 2.

    Args:
        count: (C,) samples a class, at most 2^18 together.
        total: (C, D) sums of features.
        moment: (D * (D + 1) / 2,) sums of products of features, row by row.
        prior: samples that the assumption of independent features is worth, 4 or more.
    """
    size = total.shape[1]
    count, total = count.astype(np.int64), total.astype(np.int64)
    seen = (count > 0)[:, None]
    n = min(int(count.sum()), MOST)
    rows, columns = triangle(size)
    means = mean(total, np.clip(count, 1, MOST)[:, None], MEAN)
    means = np.where(seen, np.clip(means, -FAR, FAR), 0)
    centre = mean(saturate(total.sum(axis=0)), max(n, 1), MEAN)

    within = np.zeros((size, size), np.int64)
    within[rows, columns] = moment.astype(np.int64) << MEAN
    within -= np.tril(total.T @ means)  # row i: sums, column j: means
    within = np.clip(within, -WIDEST, WIDEST)
    weighed = n + prior
    variance = np.maximum(within.diagonal(), 0) + (weighed << MEAN)

    # Each feature by a power of two: its variance is in [2^28, 2^30) then.
    half = (bit_length(variance) - 29) >> 1  # k of 4^k, rounded down
    reciprocal = (np.int64(1) << 31) // isqrt(scale(variance, 2 * half) << 2)  # 2^30 / root
    fitted = np.clip(scale(within, half[:, None] + half), -(1 << 30), 1 << 30)
    correlation = shift_round(fitted * reciprocal[:, None], 15)
    correlation = shift_round(np.clip(correlation, -(1 << 31), 1 << 31) * reciprocal, 15)
    keep = min((n << 13) // weighed << 2, (1 << 15) - (1 << 9))
    matrix = shift_round(np.clip(correlation, -(1 << 30), 1 << 30) * keep, 15)
    np.fill_diagonal(matrix, UNIT * UNIT)

    factor, clipped = cholesky(matrix)
    root = isqrt(np.array(weighed << 28))  # Q14
    inverse = np.minimum(shift_round(root * reciprocal, half + 7), 1 << 30)

    solution, more = substitute(factor, np.where(seen, standard(means, centre, inverse), 0))
    solution = shift_round(solution * inverse, 30)
    exponent = max(int(bit_length(np.abs(solution).max())) - 15, 0)
    weight = saturate(shift_round(solution, exponent), 16)
    bias = -shift_round(((means + centre) * weight).sum(axis=1), MEAN + 1)
    bias = np.clip(bias, -BIAS, BIAS)
    return Solved(weight, bias, exponent, centre, inverse, factor[rows, columns], clipped + more)


@functools.cache
def triangle(size: int) -> tuple[Array, Array]:
    """Rows and columns of a lower triangle, row by row."""
    return np.tril_indices(size)


def scale(v: Array, n: Array | int) -> Array:
    """`v / 2^n` rounded, or, for n < 0, `v * 2^-n`."""
    n = np.asarray(n, np.int64)
    scaled: Array = np.where(n < 0, v << np.maximum(-n, 0), shift_round(v, np.maximum(n, 0)))
    return scaled


def standard(x: Array, centre: Array, inverse: Array) -> Array:
    """Features (N, D) Q14 less their mean, in standard deviations: int32 Q16."""
    return saturate(shift_round((x - centre) * inverse, 30 + MEAN - WHITE))


def mahalanobis(x: Array, centre: Array, inverse: Array, factor: Array) -> Array:
    """Squared distance of features (N, D) from the mean of all samples: (N,) Q8.

    Args:
        factor: (D * (D + 1) / 2,) as in `Solved`.
    """
    x = x.astype(np.int64) << MEAN
    white = standard(x, centre.astype(np.int64), inverse.astype(np.int64))
    if len(x) == 1:
        y = _whiten_one(factor.astype(np.int64), white[0])[None]
    else:
        lower = np.zeros((x.shape[1], x.shape[1]), np.int64)
        lower[triangle(x.shape[1])] = factor
        y, _ = whiten(lower, white)
    y = saturate(shift_round(y, WHITE - 8), 16)
    return shift_round((y * y).sum(axis=1), 16 - DISTANCE)


def cholesky(matrix: Array) -> tuple[Array, int]:
    """Lower factor (D, D) Q15 of a matrix Q30 of which the lower half is read; clipped values."""
    size = len(matrix)
    factor = np.zeros((size, size), np.int64)
    clipped = 0
    for j in range(size):
        rest = matrix[j:, j] - factor[j:, :j] @ factor[j, :j]
        pivot = int(isqrt(np.clip(rest[0], 0, UNIT * UNIT)))
        clipped += pivot < LEAST_PIVOT
        pivot = max(pivot, LEAST_PIVOT)
        factor[j, j] = pivot
        column = divide(saturate(rest[1:]), pivot)
        factor[j + 1 :, j] = np.clip(column, -UNIT, UNIT)
        clipped += int((np.abs(column) > UNIT).sum())
    return factor, clipped


def whiten(factor: Array, x: Array) -> tuple[Array, int]:
    """y of (factor) y = x, for x (N, D) int32 Q16; and how many values were saturated."""
    y = np.zeros_like(x)
    clipped = 0
    for i in range(x.shape[1]):
        rest = (x[:, i] << 15) - y[:, :i] @ factor[i, :i]
        y[:, i], some = _divide_by_pivot(rest, factor[i, i])
        clipped += some
    return y, clipped


def _whiten_one(factor: Array, x: Array) -> Array:
    """`whiten` of one sample (D,), of the packed factor: what a device does, in less time."""
    y, at = x.copy(), 0
    low, high = -(1 << 31), (1 << 31) - 1
    for i, value in enumerate(x.tolist()):
        rest = (value << 15) - int(factor[at : at + i] @ y[:i])
        reciprocal = (1 << 30) // max(int(factor[at + i]), LEAST_PIVOT)
        narrow = min(max((rest + (1 << 14)) >> 15, low), high)
        y[i] = min(max((narrow * reciprocal + (1 << 14)) >> 15, low), high)
        at += i + 1
    return y


def substitute(factor: Array, x: Array) -> tuple[Array, int]:
    """z of (factor factor') z = x, for x (N, D) int32 Q16; and how many values were saturated."""
    y, clipped = whiten(factor, x)
    z = np.zeros_like(y)
    for i in reversed(range(x.shape[1])):
        rest = (y[:, i] << 15) - z[:, i + 1 :] @ factor[i + 1 :, i]
        z[:, i], some = _divide_by_pivot(rest, factor[i, i])
        clipped += some
    return z, clipped


def _divide_by_pivot(rest: Array, pivot: np.int64) -> tuple[Array, int]:
    """`rest / pivot` in int32, by a reciprocal Q15; and how many were saturated."""
    reciprocal = (1 << 30) // max(int(pivot), LEAST_PIVOT)
    wide = shift_round(saturate(shift_round(rest, 15)) * reciprocal, 15)
    reduced = saturate(wide)
    return reduced, int((reduced != wide).sum())
