"""Functions whose work on a GPU is recorded once, as a CUDA graph, and replayed.

A step is more than a thousand kernels, each of which costs the host 5 to 40 µs. Replayed, they cost it one call. With a
quarter of the batch on each of four GPUs, the host would otherwise be slower than the device.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

logger = logging.getLogger(__name__)

WARM_UP = 3  # calls before the one that is recorded: kernels are compiled and chosen, libraries take their memory
Function = Callable[..., Tensor]


class Recorded:
    """A function of tensors on a GPU, recorded at its fourth call with inputs of the same shapes; elsewhere as it is.

    It must always do the same: no value may reach the host, and what it reads or changes besides its inputs must keep
    its address. One recording is kept, which holds the memory of one call. The result is overwritten by the next call.
    """

    def __init__(self, function: Function, device: torch.device) -> None:
        self.function, self.name = function, getattr(function, "__name__", "a function")
        self.records = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self.records else None  # type: ignore[no-untyped-call]
        self._key: Any = None
        self._n_calls = 0
        self._recording: Recording | None = None

    def __call__(self, *inputs: Any) -> Tensor:  # noqa: ANN401 - tensors in tuples and dicts
        """The function's result, which its next call overwrites."""
        if not self.records:
            return self.function(*inputs)
        leaves, structure = tree_flatten(inputs)
        key = str(structure), [None if leaf is None else (leaf.shape, leaf.dtype) for leaf in leaves]
        if key != self._key:
            self._key, self._n_calls, self._recording = key, 0, None
        self._n_calls += 1
        if self._n_calls == WARM_UP + 1:
            self._record(inputs)
        return self._recording.replay(leaves) if self._recording else self._on_stream(inputs)

    def _on_stream(self, inputs: tuple[Any, ...]) -> Tensor:
        """Call the function on the stream that it is recorded on, whose memory and gradients' nodes it then has."""
        stream, current = self._stream, torch.cuda.current_stream()
        assert stream is not None
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            result = self.function(*inputs)
        current.wait_stream(stream)
        return result

    def _record(self, inputs: tuple[Any, ...]) -> None:
        try:
            self._recording = Recording(self.function, inputs, self._stream)
        except Exception:  # whatever a driver or a library refuses to record: training goes on without
            self.records = False
            logger.warning("%s is not recorded as a CUDA graph, which costs speed alone:", self.name, exc_info=True)
        else:
            logger.info("%s is recorded as a CUDA graph", self.name)


class Recording:
    """One call, recorded but not yet run."""

    def __init__(self, function: Function, inputs: tuple[Any, ...], stream: torch.cuda.Stream | None) -> None:
        own = tree_map(lambda leaf: None if leaf is None else leaf.detach().clone(), inputs)
        self.leaves, _ = tree_flatten(own)
        self.graph = torch.cuda.CUDAGraph()
        # Other threads, which fetch tokens, go on allocating.
        with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
            self.result = function(*own)

    def replay(self, leaves: list[Tensor | None]) -> Tensor:
        """Run it on these inputs."""
        for own, given in zip(self.leaves, leaves, strict=True):
            if own is not None:
                own.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.result
