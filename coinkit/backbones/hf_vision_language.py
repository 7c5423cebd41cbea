"""Any image-text-to-text model of transformers that reads pictures between its tokens."""

from __future__ import annotations

from coinkit.backbones.transformers_model import TransformersBackbone


class HFVisionLanguage(TransformersBackbone):
    """Any vision-language model of transformers, from a folder or a hub name whose files are here.

    `template` is Jinja text, or 'question', for models that come without a chat template (InstructBLIP).
    """
