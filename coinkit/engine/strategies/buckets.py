"""Sum gradients over ranks, while the backward pass is still running.

Gradients live in a few flat buffers (`parameter.grad` is a view), filled in the reverse of the forward order; a buffer
is reduced as soon as its last gradient is there. Why not `torch.nn.parallel.DistributedDataParallel`: it lays its
buckets out anew after the first step, so a resumed run would add in another order than the uninterrupted one; it
averages; and it fails on a parameter that a loss term uses but this batch's forward did not (EWC on the projector, a
batch without pictures). Buckets here never change, a rank without a gradient adds zero, and the sum is a sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch.distributed as dist
from torch import Tensor, nn

from coinkit.engine.strategies.touched import Touched

BUCKET_BYTES = 64 * 2**20


class _Bucket:
    """One flat buffer, and how many of its gradients the running backward pass still owes."""

    def __init__(self, parameters: list[nn.Parameter]):
        self.parameters = parameters
        self.flat = parameters[0].new_zeros(sum(parameter.numel() for parameter in parameters))
        self.owed = len(parameters)
        offset = 0
        for parameter in parameters:
            parameter.grad = self.flat[offset:offset + parameter.numel()].view(parameter.shape)
            offset += parameter.numel()


class GradientBuckets:
    """The gradients of one phase. Every rank must give the same parameters in the same order."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], *, bucket_bytes: int = BUCKET_BYTES):
        self.touched = Touched(parameters, next(iter(parameters.values())).device)
        self._buckets = [_Bucket(chunk) for chunk in _chunks(list(parameters.values())[::-1], bucket_bytes)]
        self._reducing = False
        self._work: list[dist.Work] = []
        owner = {id(parameter): bucket for bucket in self._buckets for parameter in bucket.parameters}
        self._handles = [
            parameter.register_post_accumulate_grad_hook(partial(self._arrived, owner[id(parameter)]))
            for parameter in parameters.values()]

    def backward(self, loss: Tensor, *, reduce: bool) -> None:
        """Accumulate d(loss) locally; with `reduce`, end with the sum over ranks in every gradient."""
        self._reducing = reduce
        self.touched.begin()
        if loss.requires_grad:
            loss.backward()
        if reduce:
            self._finish()

    def _arrived(self, bucket: _Bucket, parameter: Tensor) -> None:
        if self._reducing:
            bucket.owed -= 1
            self._launch(only_complete=True)

    def _launch(self, *, only_complete: bool) -> None:
        """Start the next reductions. Always in bucket order: collectives must start in one order on all ranks."""
        while len(self._work) < len(self._buckets):
            bucket = self._buckets[len(self._work)]
            if only_complete and bucket.owed:
                return
            self._work.append(dist.all_reduce(bucket.flat, async_op=True))

    def _finish(self) -> None:
        self._launch(only_complete=False)
        for work in self._work:
            work.wait()
        self.touched.reduce()
        self._reducing, self._work = False, []
        for bucket in self._buckets:
            bucket.owed = len(bucket.parameters)

    def clear(self) -> None:
        """Zero gradients for the next step; they stay views of the buffers."""
        for bucket in self._buckets:
            bucket.flat.zero_()
        self.touched.clear()

    def remove(self) -> None:
        """Give the parameters back as they were."""
        self.touched.remove()
        for handle in self._handles:
            handle.remove()
        for bucket in self._buckets:
            for parameter in bucket.parameters:
                parameter.grad = None
        self._buckets = []


def _chunks(parameters: list[nn.Parameter], limit_bytes: int) -> list[list[nn.Parameter]]:
    """Neighbours together up to the limit; a larger parameter is alone."""
    chunks: list[list[nn.Parameter]] = []
    size = 0
    for parameter in parameters:
        if not chunks or size + parameter.nbytes > limit_bytes:
            chunks.append([])
            size = 0
        chunks[-1].append(parameter)
        size += parameter.nbytes
    return chunks
