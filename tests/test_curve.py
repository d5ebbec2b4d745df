"""Laws of the curve: greys are the tables', middle channels stay in the middle, sRGB is continuous."""

import numpy as np
from numpy.testing import assert_array_equal

from sve2hdr.curve import HEADROOM_EV, MOST_LIGHT, Curve, index_of, srgb_encoded

CURVE = Curve.up_to(4.0)


def test_all_greys_are_as_the_tables_have_them() -> None:
    every = np.arange(len(CURVE.code), dtype=np.uint32)
    assert index_of(np.full(1, MOST_LIGHT)) == every[-1]
    greys = np.broadcast_to(every, (3, 1, len(every)))
    assert_array_equal(CURVE.rendered(greys), np.broadcast_to(CURVE.code, greys.shape))
    assert_array_equal(CURVE.gain_ev(greys)[0], CURVE.gain_ev(greys)[2])


def test_only_middle_channels_are_moved_and_stay_in_the_middle() -> None:
    light = np.random.default_rng(0).lognormal(-2, 2, (3, 40, 500)).astype(np.float32)
    indices = index_of(light.copy())
    order = np.argsort(light, axis=0)
    alone, kept = (np.take_along_axis(codes, order, 0) for codes in (CURVE.code.take(indices), CURVE.rendered(indices)))
    assert_array_equal(alone[[0, 2]], kept[[0, 2]])
    assert (np.diff(kept.astype(int), axis=0) >= 0).all()
    assert np.abs(alone[1].astype(int) - kept[1]).max() > 20
    gain_ev = CURVE.gain_ev(indices)
    assert 0 <= gain_ev.min() < gain_ev.max() <= HEADROOM_EV


def test_srgb_is_continuous_at_its_joint() -> None:
    low, high = srgb_encoded(np.array([0.0031308 - 1e-9, 0.0031308 + 1e-9]))
    assert abs(high - low) < 1e-6
