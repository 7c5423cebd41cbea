"""How far the rows of new low-rank factors lie in the subspaces of old ones, over all modules at once.

overlap = sum over modules of sum_{jk} |A_new A_old^T|_{jk}. Modules of one shape are one batched product (torch.bmm), so a
model costs as many products as it has distinct shapes, not one per module and old task.
Shape suffixes: M modules of one shape, r ranks of the new factor, R ranks of all old ones, D inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Overlap:
    """The old factors, stacked once; call it with the new ones at every step.

    `old[name]` (R, D) holds the old factors of a module one below the other.
    """

    def __init__(self, old: Mapping[str, Tensor]):
        by_shape: dict[torch.Size, list[str]] = {}
        for name, A_RD in old.items():
            by_shape.setdefault(A_RD.shape, []).append(name)
        self.groups: list[tuple[Sequence[str], Tensor]] = [
            (names, torch.stack([old[name] for name in names])) for names in by_shape.values()]

    @property
    def names(self) -> list[str]:
        return [name for names, _ in self.groups for name in names]

    @torch.no_grad()
    def __call__(self, new: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The overlap of `new[name]` (r, D) with the old factors, and its gradient sign(A_new A_old^T) A_old by name."""
        values, slopes = [], {}
        for names, old_MRD in self.groups:
            new_MrD = torch.stack([new[name] for name in names])
            inner_MrR = torch.bmm(new_MrD, old_MRD.transpose(1, 2))
            values.append(inner_MrR.abs().sum())
            slopes.update(zip(names, torch.bmm(inner_MrR.sign_(), old_MRD).unbind(), strict=True))
        return torch.stack(values).sum(), slopes


@torch.no_grad()
def norm(theta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """||theta||_2 over all tensors together, and its gradient theta / ||theta||_2 (0 at 0)."""
    tensors = list(theta.values())
    length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors, 2)))
    inverse = torch.where(length > 0, 1 / length, 0.0)
    return length, dict(zip(theta, torch._foreach_mul(tensors, inverse), strict=True))
