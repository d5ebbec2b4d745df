"""Parts of images, worked on by several threads."""

import threading
from collections.abc import Callable
from concurrent import futures

import numpy as np
import pytest
import torch

from sve2hdr.color import COLOR_SPACES, linear_rgb
from sve2hdr.mosaic import ONE_EXPOSURE, Mosaic
from sve2hdr.preview import tone_map, tone_map_with_gain
from sve2hdr.radiance import NoiseModel
from sve2hdr.sensor.defects import repair_defects
from sve2hdr.system.threads import in_threads

IMAGE = np.random.default_rng(0).uniform(0, 2, (600, 512, 3)).astype(np.float32)
MOSAIC = Mosaic(
    np.random.default_rng(1).integers(400, 600, (600, 512), np.uint16), "RGGB", np.full((2, 2), 100, np.float32),
    16_000.0, np.eye(3), np.array([0.5, 1.0, 0.6]),
)  # fmt: skip
NOISE = NoiseModel(np.full((1, 1), 0.5, np.float32), np.full((1, 1), 5, np.float32))


def test_as_many_parts_as_torch_has_threads_are_in_work_and_results_keep_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    together = threading.Barrier(3, timeout=60)  # three at the same time, or BrokenBarrierError

    def work(part: int) -> int:
        together.wait()
        return part

    assert list(in_threads(work, range(9))) == list(range(9))


@pytest.mark.parametrize(
    "work",
    [
        lambda: linear_rgb(IMAGE, MOSAIC, COLOR_SPACES["rec709"], 1.5),
        lambda: tone_map(IMAGE),
        lambda: np.concatenate([part.ravel() for part in tone_map_with_gain(IMAGE)]),
        lambda: repair_defects(MOSAIC, ONE_EXPOSURE, NOISE)[0].counts,
    ],
    ids=["colours", "preview", "gain map", "defects"],
)
def test_threads_change_no_image(work: Callable[[], np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    pool, taken, images = futures.ThreadPoolExecutor, [], []
    monkeypatch.setattr(futures, "ThreadPoolExecutor", lambda count: taken.append(count) or pool(count))
    for count in (1, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        images.append(work())
    assert taken == [1, 4]
    np.testing.assert_array_equal(*images)
