"""Miniature, format-true copies of every benchmark's files, pictures included: for tests of whole streams, without data.

Each `make_NAME(root, rows=24, ...)` fills a folder as its users have it on disk and returns what was `Written`. The
pictures are the mini stream's, so a mini backbone can learn what is asked.
"""

from coinkit.testing.layouts.coin import make_coin, make_coin_refined
from coinkit.testing.layouts.mllm_cl import make_mllm_cl_ability, make_mllm_cl_domain
from coinkit.testing.layouts.official import (
    make_gqa,
    make_imagenet,
    make_ocrvqa,
    make_official,
    make_refcoco,
    make_scienceqa,
    make_textvqa,
    make_vizwiz,
    make_vqav2,
)
from coinkit.testing.layouts.ucit import make_ucit
from coinkit.testing.layouts.written import Written

__all__ = ['Written', 'make_coin', 'make_coin_refined', 'make_gqa', 'make_imagenet', 'make_mllm_cl_ability',
           'make_mllm_cl_domain', 'make_ocrvqa', 'make_official', 'make_refcoco', 'make_scienceqa', 'make_textvqa',
           'make_ucit', 'make_vizwiz', 'make_vqav2']
