"""A CUDA device that computes nothing, for machines without one: see device.c.

`build(folder)` compiles it with gcc in seconds; `environment(folder)` has torch find it. A process on it must end with
`os._exit`, since libraries that were never loaded cannot be unloaded. The variable NULL_CUDA_BYTES sets its memory.
"""

import ctypes
import os
import re
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

SOURCE = Path(__file__).parent / "device.c"
LIBRARY = "libcuda.so.1"
TORCH = ("c10_cuda", "torch_cuda", "torch_python", "caffe2_nvrtc", "torch_cuda_linalg")
PACKAGES = Path(sysconfig.get_path("platlib"))  # where torch and triton are
# Those of torch's CUDA come first: triton may be made for an older one. They lack a few, which triton has.
HEADERS = [
    f"-I{PACKAGES / folder}"
    for folder in (f"nvidia/cu{str(torch.version.cuda).partition('.')[0]}/include", "triton/backends/nvidia/include")
]
TRITON = PACKAGES / "triton/backends/nvidia/driver.c"
FUNCTION = re.compile(r"^(cuda[A-Z]|__cuda|cublas|cu[A-Z][a-z])(?!ile)\w+$")  # cuFile reads files: left as it is


class Counted(NamedTuple):
    """What happened on the device since the last `reset`."""

    times: int
    amount: float  # operations of a product, bytes of a copy; 0 of a kernel
    name: str


def build(folder: Path) -> Path:
    """Compile the device into `folder`.

    Raises:
        subprocess.CalledProcessError: gcc or nm failed.
        FileNotFoundError: one of them is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device, stubs, library = folder / "device.o", folder / "stubs.c", folder / LIBRARY
    compile_c = ["gcc", "-w", "-O1", "-fPIC"]
    subprocess.run([*compile_c, *HEADERS, "-c", SOURCE, "-o", device], check=True)
    stubs.write_text(stubs_of(asked_for() - defined_in(device)))
    subprocess.run([*compile_c, "-shared", f"-Wl,-soname,{LIBRARY}", "-o", library, device, stubs, "-ldl"], check=True)
    return folder


def asked_for() -> set[str]:
    """The functions of CUDA that torch's libraries and triton's driver call."""
    paths = [PACKAGES / f"torch/lib/lib{name}.so" for name in TORCH]
    symbols = symbols_of("--dynamic", "--undefined-only", *[str(path) for path in paths if path.exists()])
    names = [symbol.partition("@")[0] for symbol in symbols] + re.findall(r"\bcu[A-Z]\w+", TRITON.read_text())
    return {name for name in names if FUNCTION.match(name)}


def defined_in(device: Path) -> set[str]:
    """The functions that an object file defines."""
    return set(symbols_of("--defined-only", str(device)))


def symbols_of(*arguments: str) -> list[str]:
    """What nm lists."""
    command = ["nm", "--just-symbols", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def stubs_of(names: set[str]) -> str:
    """C of functions that return 0; of products, they count that they were called."""
    lines = [f"int {name}() {{ {unknown(name) if 'emm' in name else ''}return 0; }}" for name in sorted(names)]
    return "\n".join(["void null_cuda_unknown(const char *);", *lines, ""])


def unknown(name: str) -> str:
    """C that counts a product of which the device knows no shape."""
    return f'null_cuda_unknown("{name}"); '


def environment(folder: Path) -> dict[str, str]:
    """The environment of a process on the device that `build` compiled into `folder`."""
    libraries = {
        "LD_PRELOAD": str(folder / LIBRARY),
        "LD_LIBRARY_PATH": str(folder),
        "TRITON_LIBCUDA_PATH": str(folder),
    }
    return {**os.environ, **libraries, "TORCHINDUCTOR_COMPILE_THREADS": "1", "NULL_CUDA": str(folder / LIBRARY)}


def device() -> ctypes.CDLL:
    """The device of this process."""
    return ctypes.CDLL(os.environ["NULL_CUDA"])


def reset() -> None:
    """Forget what was counted."""
    device().null_cuda_reset()


def counted() -> list[Counted]:
    """All that happened since the last `reset`."""
    with tempfile.NamedTemporaryFile(mode="r") as report:
        device().null_cuda_report(report.name.encode())
        lines = [line.rstrip("\n").split("\t") for line in Path(report.name).read_text(encoding="utf-8").splitlines()]
    return [Counted(int(times), float(amount), name) for times, amount, name in lines]
