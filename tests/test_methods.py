"""Methods by name, and other programs: what they are given, what is taken from them, and how they fail."""

import os
import re
import select
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sve2hdr.classical import classical
from sve2hdr.errors import Sve2HdrError, UnreadableWeights
from sve2hdr.evaluation import methods
from sve2hdr.evaluation.methods import external, methods_named, of_network, split_command
from sve2hdr.interpolate import interpolate
from sve2hdr.mosaic import ExposurePattern, Mosaic
from sve2hdr.network import NetworkConfig, SveNet
from sve2hdr.sensor.noise import estimate_noise
from sve2hdr.simulation.simulate import NEUTRAL, Sensor, simulate
from sve2hdr.weights import save_weights

torch.set_num_threads(1)
PATTERN = ExposurePattern(np.array([[1 / 8], [1 / 8], [1], [1]], np.float32))
PROGRAM = ".exe" if os.name == "nt" else ""  # what makes a file a program
WRITE = "import sys, numpy as np, OpenEXR; OpenEXR.File({}, {'RGB': IMAGE}).write(sys.argv[2])"


@pytest.fixture(scope="module")
def mosaic() -> Mosaic:
    y, x = np.mgrid[:64, :72] / 24
    scene = np.stack([0.3 + 0.1 * np.sin(x), 0.3 + 0.1 * np.sin(x + y), 0.3 + 0.1 * np.cos(y)], -1)
    return simulate(np.float32(scene * NEUTRAL), "GBRG", PATTERN, Sensor(), 0)


def script(folder: Path, text: str) -> str:
    """Return the start of a command that runs a Python script."""
    path = folder / "a program.py"  # with a space: no shell takes it apart
    path.write_text(text)
    return shlex.join([sys.executable, str(path)])


def ran(mosaic: Mosaic, command: str, timeout_s: float = 600) -> np.ndarray:
    """Return what another program makes of the mosaic."""
    _, method = external(command, timeout_s)
    return method(mosaic, PATTERN)


def test_names_are_what_they_say(mosaic: Mosaic, tmp_path: Path) -> None:
    noise = estimate_noise(mosaic, PATTERN)
    network = SveNet(NetworkConfig(widths=(8, 8, 8))).eval()
    path = tmp_path / "mine.safetensors"
    save_weights(path, network.config, network.state_dict(), {})
    linear, by_fit, mine = methods_named(["linear", "classical", str(path)]).values()
    assert_array_equal(linear(mosaic, PATTERN), interpolate(mosaic, PATTERN))
    assert_array_equal(by_fit(mosaic, PATTERN), classical(mosaic, PATTERN, noise))
    assert_array_equal(mine(mosaic, PATTERN), of_network(network)(mosaic, PATTERN))
    with pytest.raises(UnreadableWeights, match="nothing"):
        methods_named(["nothing"])


def test_a_program_is_given_the_mosaic_and_its_image_is_scaled(mosaic: Mosaic, tmp_path: Path) -> None:
    # a program that gives back what interpolation does, as linear Rec. 709, in a scale of its own
    command = script(
        tmp_path,
        """
import sys, numpy as np, OpenEXR, tifffile
from pathlib import Path
from sve2hdr.rawfile import read_raw
from sve2hdr.interpolate import interpolate
from sve2hdr.mosaic import ExposurePattern
mosaic = read_raw(Path(sys.argv[1]))
pattern = ExposurePattern(np.float32([[1 / 8], [1 / 8], [1], [1]]))
image = interpolate(mosaic, pattern) / np.float32(mosaic.as_shot_neutral) * np.float32(0.03)
output = sys.argv[2][len("out="):]
assert Path(sys.argv[1]).parent == Path(output).parent
if output.endswith(".tif"):
    tifffile.imwrite(output, image, photometric="rgb")
else:
    OpenEXR.File({}, {"RGB": image}).write(output)
""",
    )
    for output in ("out={output}.tif", "out={output}"):
        name, method = external(f"{command} {{input}} {output}")
        assert name == Path(sys.executable).name
        image = method(mosaic, PATTERN)
        assert_allclose(image, interpolate(mosaic, PATTERN), rtol=1e-5)


@pytest.mark.parametrize("command", ["", "prog {input}", "prog {output}", "{input} {output}", "prog '{input} {output}"])
def test_a_command_that_cannot_work_is_refused_at_once(command: str) -> None:
    with pytest.raises(Sve2HdrError, match="--external"):
        external(command)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("import sys; print('no such camera', file=sys.stderr); sys.exit(3)", "code 3 .no such camera."),
        ("pass", "wrote no result.exr"),
        (
            "import sys; open(sys.argv[2], 'w').write('no image')",
            "^(/|[A-Z]:).*python.*: the result.exr it wrote: not an OpenEXR image, or damaged; "
            "have it write linear Rec. 709$",
        ),
        (
            WRITE.replace("IMAGE", "np.ones((8, 9, 3), np.float32)"),
            "9 x 8 px of 72 x 64",
        ),
        (
            WRITE.replace("IMAGE", "np.zeros((64, 72, 3), np.float32)"),
            "black",
        ),
    ],
)
def test_what_goes_wrong_is_told(mosaic: Mosaic, tmp_path: Path, text: str, finding: str) -> None:
    with pytest.raises(Sve2HdrError, match=finding):
        ran(mosaic, script(tmp_path, text) + " {input} {output}")


def test_a_missing_program_and_an_unknown_format_are_told(mosaic: Mosaic, tmp_path: Path) -> None:
    for program in ("no-such-program", f"{tmp_path}/none"):
        with pytest.raises(Sve2HdrError, match=re.escape(f"there is no program {program}")):
            external(f"{program} {{input}} {{output}}")
    program = tmp_path / f"removed{PROGRAM}"
    program.write_text("")
    program.chmod(0o755)
    _, method = external(f"{program} {{input}} {{output}}")
    program.unlink()
    with pytest.raises(Sve2HdrError, match="cannot be run"):
        method(mosaic, PATTERN)
    with pytest.raises(Sve2HdrError, match=r"cannot read \.bmp"):
        external(f"{sys.executable} {{input}} {{output}}.bmp")


@pytest.mark.skipif(os.name != "posix", reason="needs a pipe with a name")
def test_a_program_that_hangs_is_ended_with_what_it_started(mosaic: Mosaic, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # at its end when nobody holds it any more
    program = tmp_path / "program.sh"
    program.write_text(f"(printf started; exec sleep 600) >{shlex.quote(str(tmp_path / 'pipe'))} &\nwait\n")
    held = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        for timeout_s in (1, 10, 100):  # in which it starts, however busy the machine is
            with pytest.raises(Sve2HdrError, match=f"not done after {timeout_s} s"):
                ran(mosaic, f"sh {shlex.quote(str(program))} {{input}} {{output}}", timeout_s)
            if select.select([held], [], [], 0)[0]:
                break
        assert os.read(held, 100) == b"started"
        assert select.select([held], [], [], 60)[0]
        assert os.read(held, 100) == b""
    finally:
        os.close(held)


def test_nothing_is_left_behind(mosaic: Mosaic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(Sve2HdrError):
        ran(mosaic, "false {input} {output}")
    assert not list(tmp_path.iterdir())


def test_no_shell_is_between(mosaic: Mosaic, tmp_path: Path) -> None:
    with pytest.raises(Sve2HdrError):
        ran(mosaic, f"true {{input}} {{output}}; touch {tmp_path}/seen")
    assert not (tmp_path / "seen").exists()


def test_programs_are_called_by_name(tmp_path: Path) -> None:
    program = tmp_path / "a b" / f"cr2hdr{PROGRAM}"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(0o755)
    assert external(f"'{program}' {{input}} {{output}}")[0] == program.name


def test_commands_of_windows_keep_their_backslashes() -> None:
    split = {
        r"C:\tools\prog.exe {input} {output}": [r"C:\tools\prog.exe", "{input}", "{output}"],
        r'"C:\my tools\prog.exe" -o="{output}.tif"': [r"C:\my tools\prog.exe", "-o={output}.tif"],
        r"'C:\my tools\' x": ["C:\\my tools\\", "x"],
    }
    assert {command: split_command(command, windows=True) for command in split} == split
    command = r"a\ b 'c d' \"e\" #f"
    assert split_command(command, windows=False) == shlex.split(command) == ["a b", "c d", '"e"', "#f"]
    with pytest.raises(ValueError, match="No closing quotation"):
        split_command(r'"C:\tools\prog.exe', windows=True)


def test_weights_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = methods.model_named
    monkeypatch.setattr(methods, "model_named", lambda name: read.append(name) or whole(name))
    made = methods_named(["linear", "standard"], ensemble=True)
    assert [*made] == ["linear", "standard", "standard ensemble"]
    assert read == ["standard"]
