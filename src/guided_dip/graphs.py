"""Steps on an NVIDIA GPU as CUDA graphs: one call for all kernels of a step, instead of hundreds.

A kernel of a small picture's network takes less time than asking for it. A graph is a step that was
recorded once and is played again on other inputs, which are copied to where it reads them. Every
fit has a stream of its own, so that the GPU works on several fits at the same time.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

Work = Callable[..., Sequence[Tensor]]


class Graph(NamedTuple):
    """A recorded step, where it reads its inputs, and where it leaves its outputs."""

    graph: torch.cuda.CUDAGraph
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]


class Replay:
    """Carries out work on a stream of its own, and records it to play it again.

    What work reads and changes besides its inputs, such as weights, must stay where it lies.

    Parameters
    ----------
    device
        A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.forget()

    def forget(self) -> None:
        """Forget all recordings, as what they read no longer lies where it was."""
        self._pool = torch.cuda.graph_pool_handle()
        self._warm: set[Hashable] = set()
        self._graphs: dict[Hashable, Graph] = {}

    def fork(self) -> None:
        """Have the work wait for what was asked for before."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def on_stream(self) -> AbstractContextManager[None]:
        """Have what is asked for done on the work's own stream, for a while."""
        return torch.cuda.stream(self._stream)

    def wait(self) -> None:
        """Have what is asked for from now on wait for the work."""
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def __call__(self, work: Work, inputs: Sequence[Tensor], key: Hashable) -> Sequence[Tensor]:
        """Carry out some work, between `fork` and `wait` and `on_stream`.

        For the first time on inputs of some shapes it is only done, so that libraries choose their
        kernels and whatever is allocated once is there; from the second on it is recorded.

        Parameters
        ----------
        work
            Of the inputs; its outputs are tensors.
        inputs
            On the device.
        key
            What else the work depends on.

        Returns
        -------
        sequence of Tensor
            The outputs.
        """
        shapes = tuple(given.shape for given in inputs)
        if shapes not in self._warm:
            self._warm.add(shapes)
            return work(*inputs)
        graph = self._graphs.get((shapes, key))
        if graph is None:
            graph = self._graphs[shapes, key] = self._recorded(work, inputs)
        for place, given in zip(graph.inputs, inputs, strict=True):
            place.copy_(given)
        graph.graph.replay()
        # The next replay writes to the same places. A tensor that comes twice is copied once.
        copies = {id(output): output.clone() for output in graph.outputs}
        return [copies[id(output)] for output in graph.outputs]

    def _recorded(self, work: Work, inputs: Sequence[Tensor]) -> Graph:
        torch.cuda.empty_cache()  # what was needed to do the work is not what the recording takes
        places, graph = [given.clone() for given in inputs], torch.cuda.CUDAGraph()
        # Other threads may ask for what they like meanwhile. All graphs of a fit share their
        # memory, as what one leaves there the next does not need.
        with _garbage_kept():
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                outputs = work(*places)
            finally:
                graph.capture_end()
        return Graph(graph, places, outputs)


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Keep Python from deleting old graphs meanwhile, which would end the recording."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def replay_of(network: nn.Module) -> Replay | None:
    """Return what plays a network's steps; None off CUDA, or for a network that may not bear it.

    Parameters
    ----------
    network
        Its `replayable` says that it does not look at what it computes.
    """
    device = next(network.parameters()).device
    known = bool(getattr(network, "replayable", False))
    return Replay(device) if device.type == "cuda" and known else None
