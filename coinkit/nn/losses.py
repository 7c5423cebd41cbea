"""Loss terms of continual methods as pure functions of tensors: distillation and quadratic penalties.

Distillation gives one value per labelled token, so that the caller weighs tokens as the loss does. A quadratic penalty
gives its value and its gradient: methods add the gradient to the step's, which is right where parameters are partitioned.
Shape suffixes: N labelled positions, V vocabulary, K largest entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class TopK(NamedTuple):
    """The K largest probabilities of a teacher, as logarithms, and the vocabulary ids they belong to."""

    log_p_NK: Tensor
    ids_NK: Tensor


def distillation(student_NV: Tensor, teacher_NV: Tensor, temperature: float) -> Tensor:
    """temperature^2 KL(teacher || student) per position, both softened: softmax(logits / temperature)."""
    log_q_NV = (student_NV.float() / temperature).log_softmax(-1)
    log_p_NV = (teacher_NV.float() / temperature).log_softmax(-1)
    return temperature ** 2 * F.kl_div(log_q_NV, log_p_NV, reduction='none', log_target=True).sum(-1)


def top_k(teacher_NV: Tensor, k: int, temperature: float) -> TopK:
    """What `distillation_top_k` needs of a teacher."""
    log_p_NK, ids_NK = (teacher_NV.float() / temperature).log_softmax(-1).topk(k)
    return TopK(log_p_NK, ids_NK)


def distillation_top_k(student_NV: Tensor, teacher: TopK, temperature: float) -> Tensor:
    """`distillation` over K + 1 outcomes: the teacher's K largest, and all the others together as one.

    Never above the full value, equal to it for K = V - 1, and 0 with zero gradient where both distributions agree.
    """
    log_q_NK = (student_NV.float() / temperature).log_softmax(-1).gather(-1, teacher.ids_NK.long())
    log_p_NE, log_q_NE = (torch.cat([part, _log_rest(part)], -1) for part in (teacher.log_p_NK, log_q_NK))
    return temperature ** 2 * F.kl_div(log_q_NE, log_p_NE, reduction='none', log_target=True).sum(-1)


def _log_rest(log_p_NK: Tensor) -> Tensor:
    """log(1 - sum of p), kept away from log 0 where the K entries already hold everything."""
    rest_N1 = 1 - log_p_NK.exp().sum(-1, keepdim=True)
    return rest_N1.clamp(min=torch.finfo(log_p_NK.dtype).eps).log()


@torch.no_grad()
def quadratic(theta: Mapping[str, Tensor], anchor: Mapping[str, Tensor], weight: Mapping[str, Tensor],
              strength: float) -> tuple[Tensor, dict[str, Tensor]]:
    """strength * sum weight (theta - anchor)^2 and its gradient, by name; no weight may be negative."""
    kept, old = [weight[name] for name in theta], [anchor[name] for name in theta]
    away = torch._foreach_sub(list(theta.values()), old)
    slopes = torch._foreach_mul(kept, away)
    energy = torch._foreach_norm(torch._foreach_mul(slopes, away), 1)  # no term is negative: the norm is the sum
    torch._foreach_mul_(slopes, 2 * strength)
    return strength * torch.stack(energy).sum(), dict(zip(theta, slopes, strict=True))
