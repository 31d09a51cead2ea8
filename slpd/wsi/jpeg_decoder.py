"""JPEG images decoded on a device: by nvJPEG on a GPU, by libjpeg on the CPU.

On a GPU nvImageCodec has nvJPEG decode, since torchvision cannot ask it to interpolate colours of half resolution, as
libjpeg does: without that, pixels of most slides are tens of grey levels off at edges of colours.
"""

import os
from collections.abc import Sequence
from functools import cache
from threading import Lock
from typing import Any

import torch
from torch import Tensor

# A slide is compared with its own reader while the one before is decoded, and a decoder serves one thread at a time.
DECODING = Lock()
INTERPOLATED = ":fancy_upsampling=1"  # colours of half resolution


def decode_jpegs(images: Sequence[bytes], device: torch.device) -> list[Tensor]:
    """(height, width, 3) uint8 RGB of JPEG images, on the device, for its current stream.

    Raises:
        ValueError: an image cannot be decoded.
        ImportError: nvImageCodec, which decodes for a GPU, is missing.
    """
    return decode_on_gpu(images, device) if device.type == "cuda" else decode_on_cpu(images)


def decode_on_gpu(images: Sequence[bytes], device: torch.device) -> list[Tensor]:
    """By nvJPEG. Memory is nvImageCodec's, which has it back when a tensor is gone."""
    stream = torch.cuda.current_stream(device).cuda_stream
    with DECODING:
        pictures = nvjpeg(device.index or 0).decode(list(images), cuda_stream=stream)
    n_decoded = sum(picture is not None for picture in pictures)
    if n_decoded < len(images):
        raise ValueError(f"nvJPEG cannot decode {len(images) - n_decoded} of {len(images)} tiles")
    return [torch.as_tensor(picture, device=device) for picture in pictures]


@cache
def nvjpeg(index: int) -> Any:  # noqa: ANN401 - nvImageCodec has no types
    """The decoder of a GPU: its JPEG engine, which data centre cards have, else its processors with the host's help.

    On an H200, a region of 256 tiles took 12 ms by either, and one of 64 tiles 4 and 9 to 20 ms. Of libjpeg's pixels,
    the engine's are off by one grey level at most, the processors' by three.
    """
    from nvidia import nvimgcodec  # noqa: PLC0415 - for GPUs alone

    kinds = (nvimgcodec.BackendKind.HW_GPU_ONLY, nvimgcodec.BackendKind.HYBRID_CPU_GPU)
    backends = [nvimgcodec.Backend(kind) for kind in kinds]
    threads = len(os.sched_getaffinity(0))  # by itself it takes as many as the machine has processors
    return nvimgcodec.Decoder(device_id=index, max_num_cpu_threads=threads, backends=backends, options=INTERPOLATED)


def decode_on_cpu(images: Sequence[bytes]) -> list[Tensor]:
    """By the libjpeg that torchvision has."""
    from torchvision.io import ImageReadMode, decode_jpeg  # noqa: PLC0415 - seconds, wasted where nothing is decoded

    encoded = [torch.frombuffer(bytearray(image), dtype=torch.uint8) for image in images]
    return [tile.permute(1, 2, 0) for tile in decode_jpeg(encoded, mode=ImageReadMode.RGB)]
