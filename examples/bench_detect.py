"""How often detection is right: simulated SVE frames and ordinary ones of all kinds, and how long 24 MP takes.

python examples/bench_detect.py --scenes FOLDER --files 200 [--fours] [--ordinary 100] [--raws FOLDER]

Every frame draws its scene, layout, phase, CFA order, ratio (1.5 to 5 EV), mode, noise, and what share of the scene
saturates the least exposed sites. Without --scenes the scenes are synthetic. --ordinary adds frames of one exposure
that are hard to tell: plain ones, stripes 1 to 4 px wide over scenes and walls, low light, burnt, black; --raws adds
the raws of a folder that are no SVE. Stripes are of any width: a mask over all of the frame with bars of exactly 2
sites is what SVE sensors have, and is taken for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import machine, spread, timed

from sve2hdr.errors import UnreadableRaw
from sve2hdr.evaluation.evaluate import scene_files
from sve2hdr.formats.imageread import read_hdr
from sve2hdr.mosaic import BAYER_ORDERS, ONE_EXPOSURE, ExposurePattern, Mosaic
from sve2hdr.pattern import Detection, detect_pattern
from sve2hdr.rawfile import read_raw
from sve2hdr.simulation.simulate import Sensor, camera_scene, simulate
from sve2hdr.training.synthetic import synthetic_scene

SENSORS = {  # full well and read noise, electrons
    "clean": {"full_well_e": 60_000.0, "read_noise_e": 1.0},
    "ISO 100": {"full_well_e": 30_000.0, "read_noise_e": 4.0},
    "ISO 6400": {"full_well_e": 1_000.0, "read_noise_e": 3.0},
}
PERCENTILES = (85, 92, 97, 99, 99.9, 99.95)
DIMMER = (1, 1, 1, 1, 0.1, 0.02)  # the last two: low-key, nothing comes near saturation
ORDINARY_SHARE = 0.3
HARD = ("plain", "stripes", "stripes partly", "stripes on a wall", "wall", "low light", "burnt", "black")


def rows_in_fours(rng: np.random.Generator, ev: float) -> ExposurePattern:
    """Return two exposures of four rows each, in any phase."""
    return ExposurePattern(np.roll(np.repeat(np.float32([2.0**-ev, 1]), 4), rng.integers(0, 8))[:, None])


def random_pattern(rng: np.random.Generator, ev: float) -> ExposurePattern:
    """Return row pairs (two times in five), column pairs, or 2 x 2 blocks of two or four exposures, in any phase."""
    low, kind = 2.0**-ev, rng.choice(["rows", "rows", "columns", "chessboard", "blocks"])
    blocks = {
        "rows": [[low], [1]], "columns": [[low, 1]], "chessboard": [[low, 1], [1, low]],
        "blocks": [[low, low ** (1 / 3)], [low ** (2 / 3), 1]],
    }[str(kind)]  # fmt: skip
    quads = np.float32(blocks)
    cell = np.kron(quads, np.ones([2 if n > 1 else 1 for n in quads.shape], np.float32))
    return ExposurePattern(np.roll(cell, rng.integers(0, 4, 2), (0, 1)))


def random_scene(rng: np.random.Generator, scenes: list[Path]) -> tuple[np.ndarray, str]:
    """Return one of the scenes, or a synthetic one where there are none, (H, W, 3) float32, and its name."""
    number = int(rng.integers(len(scenes) if scenes else 1 << 30))
    return (read_hdr(scenes[number]), scenes[number].stem) if scenes else (synthetic_scene(number), str(number))


def random_frame(
    rng: np.random.Generator, scenes: list[Path], drawn: Callable[[np.random.Generator, float], ExposurePattern]
) -> tuple[Mosaic, ExposurePattern | None, str]:
    """Return one simulated frame, its pattern (None: ordinary), and what it is in words."""
    scene, name = random_scene(rng, scenes)
    noise, mode = str(rng.choice(list(SENSORS))), str(rng.choice(["exposure", "gain"]))
    percentile, dimmer, cfa = rng.choice(PERCENTILES), rng.choice(DIMMER), str(rng.choice(BAYER_ORDERS))
    pattern = drawn(rng, rng.uniform(1.5, 5)) if rng.random() >= ORDINARY_SHARE else None
    sensor = Sensor(mode=mode, **SENSORS[noise])  # type: ignore[arg-type]
    light = np.float32(camera_scene(scene, percentile) * dimmer)
    mosaic = simulate(light, cfa, pattern or ONE_EXPOSURE, sensor, int(rng.integers(1 << 31)))
    words = f"{pattern or 'one exposure'} of {name}, {cfa}, {mode}, {noise}, percentile {percentile}, x {dimmer}"
    return mosaic, pattern, words


def ordinary_frame(rng: np.random.Generator, scenes: list[Path]) -> tuple[Mosaic, str]:
    """Return one simulated frame of one exposure that is hard to tell, and what it is in words."""
    scene, name = random_scene(rng, scenes)
    light, kind = camera_scene(scene, float(rng.choice(PERCENTILES))), str(rng.choice(HARD))
    noise, cfa = str(rng.choice(list(SENSORS))), str(rng.choice(BAYER_ORDERS))
    if "wall" in kind:
        y, x = np.indices(light.shape[:2])
        light = np.float32(np.exp2(rng.uniform(-6, -1) + rng.uniform(0, 2) * (x + y) / sum(light.shape[:2])))[..., None]
        light = np.float32(light * rng.uniform(0.4, 1, 3))
    if "stripes" in kind:
        width, phase, ev = rng.uniform(1, 4.5), rng.uniform(0, 8), rng.uniform(0.5, 5)
        along = np.indices(light.shape[:2])[int(rng.integers(2))]
        lit = np.mean([(along + phase + part) // width % 2 for part in np.arange(0.0625, 1, 0.125)], axis=0)
        light = light * np.float32(lit + (1 - lit) * 2.0**-ev)[..., None]
        if "partly" in kind:  # as a blind before a window
            light[:, light.shape[1] // 2 :] = camera_scene(scene, 99)[:, light.shape[1] // 2 :]
        kind += f" of {width:.2f} px, {ev:.1f} EV"
    light *= {"low light": 0.01, "burnt": 30.0, "black": 0.0}.get(kind, 1.0)
    mosaic = simulate(np.float32(light), cfa, ONE_EXPOSURE, Sensor(**SENSORS[noise]), int(rng.integers(1 << 31)))
    return mosaic, f"{kind}, {name}, {cfa}, {noise}"


def same_layout(found: Detection, pattern: ExposurePattern) -> bool:
    """Return whether the groups are the true ones, most exposed to least."""
    if found.pattern is None:
        return False
    seen, true = (p.over((8, 4)).ravel() for p in (found.pattern, pattern))
    return bool((np.sign(seen[:, None] - seen) == np.sign(true[:, None] - true)).all())


def main() -> None:
    """Print the table, then every frame that came out wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, help="folder of .hdr, .exr or .tif scenes")
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fours", action="store_true", help="rows in fours, in place of the other layouts")
    parser.add_argument("--ordinary", type=int, default=0, help="frames of one exposure that are hard to tell")
    parser.add_argument("--raws", type=Path, help="folder of raws of one exposure")
    parser.add_argument("--megapixels", type=float, default=24)
    options = parser.parse_args()
    scenes = scene_files(options.scenes) if options.scenes else []
    if options.scenes and not scenes:
        parser.error(f"{options.scenes} holds no scene")
    print(machine())
    rng, wrong = np.random.default_rng(options.seed), []
    right, ordinary, false_alarms, errors = 0, 0, 0, []
    for _ in range(options.files):
        mosaic, pattern, words = random_frame(rng, scenes, rows_in_fours if options.fours else random_pattern)
        found = detect_pattern(mosaic)
        if pattern is None:
            ordinary += 1
            false_alarms += found.sve
            trouble = found.sve
        else:
            trouble = not same_layout(found, pattern)
            right += not trouble
            if not trouble:
                errors.append(abs(found.ratio_ev - pattern.ratio_ev))
                trouble = errors[-1] > 0.05
        if trouble:
            wrong.append(f"{words}: {found.ratio_ev:.2f} EV, confidence {found.confidence:.2f}, {found.reason}")
    print(f"{options.files} frames of {len(scenes) or 'synthetic'} scenes, seed {options.seed}")
    print(f"layout and phase right: {right} of {options.files - ordinary} SVE frames")
    if errors:
        middle, most, worst = np.quantile(errors, [0.5, 0.95, 1])
        within = np.mean(np.array(errors) <= 0.05)
        print(f"ratio error, EV: median {middle:.3f}, 95 % {most:.3f}, greatest {worst:.3f}; {within:.1%} within 0.05")
    print(f"false alarms: {false_alarms} of {ordinary} ordinary frames")
    if options.ordinary:
        accepted = []
        for _ in range(options.ordinary):
            mosaic, words = ordinary_frame(rng, scenes)
            found = detect_pattern(mosaic)
            accepted += [f"{words}: taken for {found.pattern}, {found.confidence:.2f}"] if found.sve else []
        wrong += accepted
        print(f"hard ones accepted: {len(accepted)} of {options.ordinary}")
    if options.raws:
        print(real_raws(options.raws))
    print(f"{options.megapixels:g} MP, 3 runs: {timing(options.megapixels)}")
    print(*wrong, sep="\n")


def real_raws(folder: Path) -> str:
    """Return how many raws of a folder are accepted, of those that can be read."""
    read, accepted = 0, []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            found = detect_pattern(read_raw(path))
        except UnreadableRaw:
            continue
        read += 1
        accepted += [path.name] if found.sve else []
    return " ".join([f"real ones accepted: {len(accepted)} of {read}", *accepted])


def timing(megapixels: float) -> str:
    """Return the seconds that one large frame takes, the first run left out."""
    light = camera_scene(synthetic_scene(1, 256), 99)
    pattern = ExposurePattern(np.float32([[1 / 8], [1 / 8], [1], [1]]))
    small = simulate(light, "RGGB", pattern, Sensor(), 1)
    times = max(1, round((megapixels * 1e6) ** 0.5 / 256))
    frame = Mosaic(np.tile(small.counts, (times, times)), "RGGB", small.black_level, small.white_level, np.eye(3))
    assert detect_pattern(frame).sve
    return spread(timed(lambda: detect_pattern(frame)))


if __name__ == "__main__":
    main()
