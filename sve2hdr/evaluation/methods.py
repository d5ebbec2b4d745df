"""Ways to reconstruct a mosaic, by the names that `evaluate` takes, other programs among them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ..architecture import Network
from ..classical import classical
from ..errors import Sve2HdrError, UnreadableImage, one_line
from ..formats.dngfile import write_cfa_dng
from ..formats.imageread import READABLE_EXTENSIONS, read_scene
from ..interpolate import interpolate
from ..models import CLASSICAL, Model, model_named
from ..mosaic import ExposurePattern, Mosaic
from ..reconstruct import NetworkOptions, reconstruct
from ..sensor.noise import estimate_noise

# What a method gives is camera RGB, (H, W, 3) float32, 1.0 = saturation of the most exposed sites.
Method = Callable[[Mosaic, ExposurePattern], np.ndarray]

LINEAR = "linear"  # the name of validity-weighted linear interpolation
TIMEOUT_S = 600.0


def methods_named(names: Iterable[str], device: str = "cpu", ensemble: bool = False) -> dict[str, Method]:
    """Return the methods of names, linear or what `convert --model` takes; with `ensemble`, also each network's.

    Those that ask for noise estimate it from the mosaic, as `convert` does. Raises UnreadableWeights for other names;
    a method raises UnknownLayout for a pattern that its network does not know.
    """
    methods: dict[str, Method] = {}
    for name in names:
        if name == LINEAR:
            methods[name] = interpolate
            continue
        model = model_named(name)  # read once: a running `train` replaces its weights
        methods[name] = _of_model(name, model, device)
        if ensemble and name != CLASSICAL:
            methods[ensemble_of(name)] = _of_model(name, model, device, ensemble=True)
    return methods


def ensemble_of(name: str) -> str:
    """Return what a network's ensemble is called."""
    return f"{name} ensemble"


def _of_model(name: str, model: Model, device: str, ensemble: bool = False) -> Method:
    def run(mosaic: Mosaic, pattern: ExposurePattern) -> np.ndarray:
        _, network = model.for_pattern(name, mosaic, pattern)
        if network is None:
            return classical(mosaic, pattern, estimate_noise(mosaic, pattern))
        return of_network(network, device, ensemble)(mosaic, pattern)

    return run


def of_network(network: Network, device: str = "cpu", ensemble: bool = False) -> Method:
    """Return the method that a network is."""
    options = NetworkOptions(device=device, ensemble=ensemble)
    return lambda mosaic, pattern: reconstruct(mosaic, pattern, estimate_noise(mosaic, pattern), network, options)


def external(command: str, timeout_s: float = TIMEOUT_S) -> tuple[str, Method]:
    """Return the name and the method that another program is: `command` with {input} and {output}, run without a shell.

    The name is that of the program's file. {input} becomes a DNG of the mosaic, in a folder of its own. {output}, or
    {output} with one of the extensions that `read_scene` reads, becomes the file that it shall write (.exr if none is
    said): linear Rec. 709 with the DNG's white balance, of the size of the mosaic, of any scale. As programs differ in
    scale, it is fitted: one factor, the median over the frame of interpolated over its green. The program is not told
    the pattern.
    Raises Sve2HdrError at once for a command without {input} and {output}, and for a program that is missing; the
    method raises it for one that fails, takes longer than `timeout_s`, or writes what cannot be used.
    """
    try:
        words = split_command(command)
    except ValueError as error:
        raise Sve2HdrError(f"--external {command}: {error}; quote it as a shell would") from error
    if not all(any(mark in word for word in words[1:]) for mark in ("{input}", "{output}")):
        raise Sve2HdrError(f"--external {command}: must name a program, {{input}} and {{output}}")
    if shutil.which(words[0]) is None:
        raise Sve2HdrError(f"--external {command}: there is no program {words[0]}; check its name and the PATH")
    extension = _output_extension(words)

    def run(mosaic: Mosaic, pattern: ExposurePattern) -> np.ndarray:
        with tempfile.TemporaryDirectory(prefix="sve2hdr-") as name:
            folder = Path(name)
            written, output = folder / "mosaic.dng", folder / f"result{extension}"
            write_cfa_dng(written, mosaic)
            arguments = [
                re.sub(_OUTPUT, lambda _: str(output), word.replace("{input}", str(written))) for word in words
            ]
            _run(arguments, folder, timeout_s)
            if not output.is_file():
                raise Sve2HdrError(f"{words[0]}: wrote no {output.name}; have {{output}} written by --external")
            try:
                image, _ = read_scene(output)
            except UnreadableImage as error:
                finding = one_line(error, str(output)).partition(";")[0]
                raise Sve2HdrError(
                    f"{words[0]}: the {output.name} it wrote: {finding}; have it write linear Rec. 709"
                ) from error
        if image.shape[:2] != mosaic.shape:
            raise Sve2HdrError(
                f"{words[0]}: gave {image.shape[1]} x {image.shape[0]} px of {mosaic.shape[1]} x {mosaic.shape[0]} "
                "sites; have it keep the size"
            )
        camera_rgb = image if mosaic.as_shot_neutral is None else image * np.float32(mosaic.as_shot_neutral)
        return camera_rgb * _scale(camera_rgb, interpolate(mosaic, pattern), words[0])

    return Path(words[0]).name, run


def split_command(command: str, windows: bool = os.name == "nt") -> list[str]:
    r"""Return the words of a command as a shell takes them apart; `windows`: where \ is between folders, no escape.

    >>> split_command(r'"C:\my tools\prog.exe" {input} --to="{output}"', windows=True)
    ['C:\\my tools\\prog.exe', '{input}', '--to={output}']
    """
    lexer = shlex.shlex(command, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    if windows:
        lexer.escape = ""
    return list(lexer)


_OUTPUT = r"\{output\}(\.\w+)?"


def _output_extension(words: list[str]) -> str:
    found = next(match for word in words if (match := re.search(_OUTPUT, word)))
    extension = found.group(1) or ".exr"
    if extension.lower() not in READABLE_EXTENSIONS:
        raise Sve2HdrError(f"--external: cannot read {extension} files; use one of {', '.join(READABLE_EXTENSIONS)}")
    return extension


def _run(arguments: list[str], folder: Path, timeout_s: float) -> None:
    """Run a program to its end; what it says goes to a file, as a pipe could be held open by what it started."""
    program, log = arguments[0], folder / "log.txt"
    try:
        with log.open("wb") as said:
            # in a session of its own, so that what it started ends with it
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )
    except OSError as error:
        raise Sve2HdrError(f"{program}: cannot be run ({error.strerror or error}); check --external") from error
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise Sve2HdrError(
            f"{program}: not done after {timeout_s:g} s; give a longer --timeout, or smaller scenes"
        ) from None
    finally:  # also if the user interrupts
        if process.poll() is None:
            _end(process)
    if code:
        lines = log.read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "without a word")
        raise Sve2HdrError(f"{program}: failed with code {code} ({last[:200]}); try it on a DNG by hand")


def _end(process: subprocess.Popen[bytes]) -> None:
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _scale(image: np.ndarray, wanted: np.ndarray, program: str) -> np.float32:
    lit = (image[..., 1] > 0) & (wanted[..., 1] > 0)
    if not lit.any():
        raise Sve2HdrError(f"{program}: gave a black image; have it write linear light")
    return np.float32(np.median(wanted[..., 1][lit] / image[..., 1][lit]))
