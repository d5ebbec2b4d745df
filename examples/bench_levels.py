"""How well the levels of a frame are estimated, and what their errors cost: simulated row pairs with wrong tags.

python examples/bench_levels.py --scenes FOLDER --files 200 [--through cr2|dng] [--margins] [--model standard]

Every frame draws its scene, phase, CFA order, mode, ratio (1.5 to 5 EV), noise, and what share of the scene saturates;
a black level for each of the four rows, the file naming their mean (with --independent any level within 30 counts); a
white level of 0.7 to 1.0 of what the file names, up to 5 % lower where exposures are brighter; row noise and hot sites.
With --margins the frame has 100 masked columns, with bad ones and a drift of period 8. --through writes every frame to
a file and reads it back: a Canon CR2 of 2176 x 1448 sites, with the margins of its body and RGGB, or a DNG with one
black level, and its margins outside of ActiveArea. A true black level is the mean over the rows of its phase, with
what row noise leaves of itself in that mean: the black level of this frame. Loss is PSNR-mu against the reconstruction
with perfect levels, by linear interpolation or --model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from bench_detect import random_scene
from machine import machine, spread, timed

from sve2hdr.architecture import Network
from sve2hdr.errors import PatternNotFound
from sve2hdr.evaluation.evaluate import scene_files
from sve2hdr.evaluation.metrics import psnr_mu
from sve2hdr.formats.tiffwrite import (
    BYTE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    Ifd,
    entry,
    rationals,
    text_entry,
    write_tiff,
)
from sve2hdr.interpolate import interpolate
from sve2hdr.levels import Estimate, estimate_levels
from sve2hdr.mosaic import BAYER_ORDERS, ExposurePattern, Mosaic, repeated
from sve2hdr.radiance import NoiseModel, full_scale
from sve2hdr.raw.maskedrows import as_margins_show
from sve2hdr.rawfile import read_raw
from sve2hdr.reconstruct import reconstruct
from sve2hdr.sensor.noise import estimate_noise
from sve2hdr.simulation.simulate import (
    CAMERA_FROM_XYZ,
    NEUTRAL,
    Sensor,
    camera_scene,
    expose,
    mosaic_of,
    noise_of_sites,
)
from sve2hdr.weights import load_weights, weights_path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from cr2container import EOS_D30, write_cr2

NOISE = {"clean": (60_000.0, 1.0), "ISO 100": (30_000.0, 4.0), "ISO 1600": (4_000.0, 3.0)}  # full well, read noise, e-
NAMES = ("ratio, EV", "black, counts", "white, share", "white where the exposure saturates, share")
LIMITS = (0.03, 1.5, 0.01, 0.01)
PERCENTILES = (85, 92, 97, 99, 99.9)
NOMINAL, MARGIN, SPREAD = 16_383.0, 100, 30.0  # counts; sites; counts
ROW_NOISE, HOT = 0.3, 2e-4  # of the read noise; share of the sites


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame as a file would give it, and what is true of it."""

    told: Mosaic
    perfect: Mosaic
    pattern: ExposurePattern
    truth: np.ndarray  # (H, W, 3) float32 camera RGB, 1.0 = saturation of the least exposed sites
    clipped: tuple[bool, bool]  # whether each exposure, the less exposed first, has saturated sites to tell by
    about: str


def random_frame(
    rng: np.random.Generator, scenes: list[Path], margins: bool, independent: bool, through: str = ""
) -> Frame:
    """Return a frame with all that a camera does to it, and its true levels."""
    scene, name = random_scene(rng, scenes)
    ev, mode, noise = float(rng.uniform(1.5, 5)), str(rng.choice(["exposure", "gain"])), str(rng.choice(list(NOISE)))
    percentile, cfa = float(rng.choice(PERCENTILES)), str(rng.choice(BAYER_ORDERS))
    pattern = ExposurePattern(np.roll(np.float32([2.0**-ev, 2.0**-ev, 1, 1]), rng.integers(4)).reshape(4, 1))
    told_black = float(rng.choice([512, 1024, 2048]))
    black = told_black + rng.uniform(-SPREAD, SPREAD, (4, 1))
    top = NOMINAL * rng.uniform(0.7, 1)
    white = np.where(pattern.exposure == 1, top * rng.uniform(0.95, 1), top).round().astype(np.float32)
    full_well_e, read_noise_e = NOISE[noise]
    sensor = Sensor(mode, 14, told_black, top - 1, full_well_e, read_noise_e)  # type: ignore[arg-type]
    light = camera_scene(scene, percentile)
    area, shape = (slice(0, None), slice(MARGIN if margins else 0, None)), light.shape[:2]
    if through == "cr2":  # the frame of a body that LibRaw knows, and has the filters of
        cfa, area, shape = "RGGB", EOS_D30.visible, EOS_D30.visible_shape
    light = np.pad(light, [(0, max(0, n - m)) for n, m in zip(shape, light.shape, strict=False)] + [(0, 0)], "reflect")
    light = light[: shape[0], : shape[1]]
    sites = EOS_D30.shape if through == "cr2" else (shape[0], shape[1] + int(area[1].start))

    def over(period: np.ndarray) -> np.ndarray:
        """Return a period from the first visible site on, over all sites."""
        return repeated(np.roll(repeated(period, (4, 4)), (area[0].start, area[1].start), (0, 1)), sites)

    exposure, least = over(pattern.exposure), float(pattern.exposure.min())
    gain, read = noise_of_sites(sensor, exposure, least)
    span_e = full_well_e * (exposure / least if mode == "exposure" else np.ones_like(exposure))
    rows = rng.normal(0, ROW_NOISE, (sites[0], 1)) * read[:, :1]
    offset = over(black) + rows
    phases = np.arange(shape[0]) % 4
    black += [[float(rows[area[0]][phases == phase].mean())] for phase in range(4)]
    if not independent:
        told_black = float(np.rint(black.mean()))
    if area[1].start:
        offset[:, : area[1].start] += repeated(rng.normal(0, 0.5, (1, 8)), (sites[0], area[1].start))
        offset[:, rng.integers(0, area[1].start, 2)] += 60
    seen = np.zeros(sites, np.float32)
    seen[area] = mosaic_of(light, cfa)
    planes = (seen, gain, span_e, read, offset, over(white))
    tensors = [torch.from_numpy(np.asarray(plane, np.float32)) for plane in planes]
    counts = expose(*tensors, torch.Generator().manual_seed(int(rng.integers(1 << 40)))).numpy()
    hot = rng.random(sites) < HOT
    counts[hot] = np.minimum(counts[hot] + rng.exponential(4000, int(hot.sum())), over(white)[hot])
    told = as_told(counts.astype(np.uint16), area, cfa, told_black, through)
    perfect = replace(
        told, black_level=black.astype(np.float32), white_level=float(white.max()), saturation=white, masked=None
    )
    at_top = told.counts >= repeated(white, told.shape)
    clipped = [float(at_top[pattern.over(told.shape) == e].mean()) > 3e-4 for e in (least, 1)]
    about = f"{name}, {cfa}, {ev:.2f} EV by {mode}, {noise}, {percentile:g} %"
    return Frame(told, perfect, pattern, light, (clipped[0], clipped[1]), about)


def as_told(sites: np.ndarray, area: tuple[slice, slice], cfa: str, black: float, through: str) -> Mosaic:
    """Return what a file of these sites, (H, W) uint16, says, or without one the same mosaic."""
    if through:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"frame.{through}")
            if through == "cr2":
                write_cr2(path, sites, EOS_D30)
            else:
                write_sensor_dng(path, sites, area, cfa, black)
            return read_raw(path)
    visible = np.ascontiguousarray(sites[area])
    told = Mosaic(visible, cfa, np.full((1, 1), black, np.float32), NOMINAL, np.eye(3))
    return as_margins_show(told, sites, 0, int(area[1].start))


def write_sensor_dng(path: Path, sites: np.ndarray, area: tuple[slice, slice], cfa: str, black: float) -> None:
    """Write all sites of a sensor as DNG converters do, the masked ones outside of the active area."""
    height, width = sites.shape
    tags = {
        254: (LONG, [0]), 256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [16]), 259: (SHORT, [1]),
        262: (SHORT, [32803]), 274: (SHORT, [1]), 277: (SHORT, [1]), 278: (LONG, [height]), 284: (SHORT, [1]),
        33421: (SHORT, [2, 2]), 33422: (BYTE, ["RGB".index(letter) for letter in cfa]), 50706: (BYTE, [1, 4, 0, 0]),
        50707: (BYTE, [1, 1, 0, 0]), 50714: (LONG, [round(black)]), 50717: (LONG, [round(NOMINAL)]),
        50721: (SRATIONAL, rationals(CAMERA_FROM_XYZ.ravel(), 10_000)), 50728: (RATIONAL, rationals(NEUTRAL, 10_000)),
        50778: (SHORT, [21]), 50829: (LONG, [area[0].start, area[1].start, height, width]),
    }  # fmt: skip
    names = [text_entry(tag, "simulated sensor") for tag in (271, 272, 50708)]
    with path.open("wb") as file:
        entries = [entry(tag, kind, values) for tag, (kind, values) in tags.items()]
        write_tiff(file, Ifd([*entries, *names], {}, [sites.astype("<u2").tobytes()], 1))


def same_groups(a: ExposurePattern, b: ExposurePattern) -> bool:
    """Return whether two patterns have their more exposed sites in the same places."""
    return bool(((a.over((4, 4)) == 1) == (b.over((4, 4)) == 1)).all())


def errors_of(found: Estimate, frame: Frame) -> tuple[float, float, float, float]:
    """Return errors: ratio, EV; worst black, counts; white, shares, of all exposures and of those that clip."""
    shape = (8, 4)
    ratio = abs(found.pattern.ratio_ev - frame.pattern.ratio_ev)
    black = np.abs(repeated(found.black, shape) - repeated(frame.perfect.black_level, shape)).max()
    truth = repeated(frame.perfect.white_by_site, shape)
    white = np.abs(repeated(found.white, shape) / truth - 1)
    bright = frame.pattern.over(shape) == 1
    told = [
        float(white[sites].max()) if seen else 0.0 for sites, seen in zip((~bright, bright), frame.clipped, strict=True)
    ]
    return ratio, float(black), float(white.max()), max(told)


def loss_of(found: Estimate, frame: Frame, network: Network | None) -> float:
    """Return how much PSNR-mu the estimates lose against perfect levels, dB."""
    scale = full_scale(frame.perfect, frame.pattern)

    def score(mosaic: Mosaic, pattern: ExposurePattern, noise: NoiseModel) -> float:
        image = interpolate(mosaic, pattern) if network is None else reconstruct(mosaic, pattern, noise, network)
        # counts of the least exposed sites are put on one scale: which level of them is 1.0 is a matter of exposure
        image *= np.float32(full_scale(mosaic, pattern) / scale / pattern.ratio)
        return psnr_mu(np.minimum(image, 1), np.minimum(frame.truth, 1), border_px=8)

    perfect = score(frame.perfect, frame.pattern, estimate_noise(frame.perfect, frame.pattern))
    return perfect - score(found.applied(frame.told), found.pattern, found.noise)


def main() -> None:
    """Print shares within the limits, losses, times, and every frame that is outside of a limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, help="folder of .hdr, .exr or .tif scenes")
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--margins", action="store_true")
    parser.add_argument("--through", choices=["cr2", "dng"], default="", help="write each frame, and read it back")
    parser.add_argument("--independent", action="store_true", help="the file's black is not the mean of the rows'")
    parser.add_argument("--model", help="a network for the loss, in place of linear interpolation")
    parser.add_argument("--no-loss", action="store_true")
    parser.add_argument("--megapixels", type=float, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenes = scene_files(options.scenes) if options.scenes else []
    if options.scenes and not scenes:
        parser.error(f"{options.scenes} holds no scene")
    network = load_weights(weights_path(options.model)) if options.model else None
    rng, rows, claimed, losses, wrong, refused = np.random.default_rng(options.seed), [], [], [], [], 0
    for _ in range(options.files):
        frame = random_frame(rng, scenes, options.margins, options.independent, options.through)
        try:
            found = estimate_levels(frame.told, Path(frame.about))
        except PatternNotFound as error:
            refused += 1
            wrong.append(str(error))
            continue
        if not same_groups(found.pattern, frame.pattern):
            refused += 1
            wrong.append(f"{frame.about}: {found.pattern} is wrong")
            continue
        rows.append(errors_of(found, frame))
        claimed.append(found.ratio_ev_error)
        loss = 0.0 if options.no_loss else loss_of(found, frame, network)
        losses.append(loss)
        if any(e > limit for e, limit in zip(rows[-1], LIMITS, strict=True)) or loss > 0.3:
            ratio, black, white, clipped = rows[-1]
            wrong.append(
                f"{frame.about}: ratio {ratio:.3f} EV, black {black:.2f}, white {white:.2%} ({clipped:.2%} where it "
                f"clips), loss {loss:.2f} dB; {found.ratio_ev_error:.3f} EV, {found.sources['black']}, "
                f"{found.sources['white']}"
            )
    errors = np.array(rows)
    print(machine())
    print(f"{options.files} frames of {len(scenes) or 'synthetic'} scenes, seed {options.seed}, ", end="")
    print(f"through {options.through}, " if options.through else "", end="")
    print("masked margins" if options.margins or options.through == "cr2" else "no margins")
    print(f"decided right: {options.files - refused} of {options.files}")
    for k, (name, limit) in enumerate(zip(NAMES, LIMITS, strict=True)):
        middle, most, worst = np.quantile(errors[:, k], [0.5, 0.95, 1])
        within = np.mean(errors[:, k] <= limit)
        print(f"{name}: {within:.1%} within {limit:g}; median {middle:.4f}, 95 % {most:.4f}, greatest {worst:.4f}")
    one, two = (np.mean(errors[:, 0] <= n * np.array(claimed)) for n in (1, 2))
    print(f"ratio within its own standard error: {one:.0%}, within two: {two:.0%} (68 and 95 % if that is right)")
    if not options.no_loss:
        by = options.model or "linear interpolation"
        print(f"PSNR-mu lost by {by}: mean {np.mean(losses):.3f} dB, greatest {np.max(losses):.2f}")
    print(f"{options.megapixels:g} MP, 3 runs: {timing(options.megapixels)}")
    print(*wrong, sep="\n")


def timing(megapixels: float) -> str:
    """Return the seconds that one large frame takes, the first run left out."""
    frame = random_frame(np.random.default_rng(4), [], margins=False, independent=False).told
    rows, columns = (n - n % 4 for n in frame.shape)
    times = max(1, round((megapixels * 1e6 / (rows * columns)) ** 0.5))
    large = replace(frame, counts=np.tile(frame.counts[:rows, :columns], (times, times)))
    return spread(timed(lambda: estimate_levels(large, Path("large"))))


if __name__ == "__main__":
    main()
