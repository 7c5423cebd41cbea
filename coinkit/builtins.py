"""The built-in plug-in: every component that ships with coinkit, by name, imported only when a run asks for it.

It is registered like any third-party plug-in; reading this file shows what a plug-in of one's own has to do.
"""

from __future__ import annotations

from typing import Any


def coinkit_register(registries: Any) -> None:
    """Add the built-in components."""
    _add(registries.BACKBONES, 'coinkit.backbones', Llava='llava.backbone', QwenVL='qwen_vl.backbone',
         MiniGPTv2='minigpt_v2.backbone', Qwen2VL='qwen2_vl', Qwen25VL='qwen2_vl', Qwen3VL='qwen2_vl',
         HFVisionLanguage='hf_vision_language')
    _add(registries.METHODS, 'coinkit.methods', ZeroShot='zero_shot', FineTune='fine_tune', Joint='joint',
         SingleTask='single_task', MoELoRA='moelora', MRLoRA='mr_lora.method', Replay='replay',
         LwF='lwf', MAS='mas', OLoRA='olora', DynamicEMA='dynamic_ema', InstructionGroups='instruction_groups',
         CIA='cia')
    _add(registries.DATASETS, 'coinkit.datasets', InstructionJson='instructions', Mini='mini.dataset')
    _add(registries.STRATEGIES, 'coinkit.engine.strategies', OneDevice='one_device', DDP='ddp', DeepSpeed='deep_speed')
    _add_metrics(registries.METRICS)
    _add(registries.JUDGES, 'coinkit.judges', OpenAICompatible='openai_compatible', LocalTransformers='local_transformers')


def _add(registry: Any, package: str, **modules: str) -> None:
    for name, module in modules.items():
        registry.add(name, f'{package}.{module}:{name}')


def _add_metrics(metrics: Any) -> None:
    metrics.add('scienceqa_coin', 'coinkit.metrics.scienceqa:ScienceQACoin')
    metrics.add('textvqa_m4c', 'coinkit.metrics.vqa:TextVQAM4C')
    metrics.add('imagenet_coin', 'coinkit.metrics.imagenet:ImageNetCoin')
    metrics.add('gqa', 'coinkit.metrics.vqa:GQA')
    metrics.add('vqa_exact_upper', 'coinkit.metrics.vqa:VQAExactUpper')
    metrics.add('ocrvqa_coin', 'coinkit.metrics.vqa:OCRVQACoin')
    metrics.add('grounding_coin', 'coinkit.metrics.grounding:GroundingCoin', aliases=('grounding_coin_upstream',))
    metrics.add('grounding_minigpt', 'coinkit.metrics.grounding:GroundingMiniGPT',
                aliases=('grounding_minigpt_upstream',))
    metrics.add('judge_parse_coin', 'coinkit.judges.parse:JudgeParse')
