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
    _add(registries.DATASETS, 'coinkit.datasets', InstructionJson='instructions', Folder='folder', RefCOCO='refcoco',
         Mini='mini.dataset')
    _add(registries.STRATEGIES, 'coinkit.engine.strategies', OneDevice='one_device', DDP='ddp', DeepSpeed='deep_speed')
    _add_metrics(registries.METRICS)
    _add(registries.JUDGES, 'coinkit.judges', OpenAICompatible='openai_compatible', LocalTransformers='local_transformers')


def _add(registry: Any, package: str, **modules: str) -> None:
    for name, module in modules.items():
        registry.add(name, f'{package}.{module}:{name}')


def _add_metrics(metrics: Any) -> None:
    scorers = {
        'scienceqa': dict(scienceqa_coin='ScienceQACoin', scienceqa_llava='ScienceQALlava'),
        'vqa': dict(textvqa_m4c='TextVQAM4C', vqa_v2_official='VQAv2Official', vqa_exact_upper='VQAExactUpper', gqa='GQA',
                    ocrvqa_coin='OCRVQACoin'),
        'stvqa': dict(stvqa_accuracy='STVQAAccuracy', stvqa_anls='STVQAANLS'),
        'imagenet': dict(imagenet_coin='ImageNetCoin'),
        'grounding': dict(grounding_coin='GroundingCoin', grounding_minigpt='GroundingMiniGPT'),
        'mllm_cl_domain': dict(mllmcl_rs='MLLMCLRS', mllmcl_med='MLLMCLMed', mllmcl_sci='MLLMCLSci', mllmcl_fin='MLLMCLFin'),
        'mllm_cl_ability': dict(mllmcl_ocr='MLLMCLOCR', mllmcl_vp='MLLMCLVP', mllmcl_app='MLLMCLApp'),
        'mathvista': dict(mathvista_check='MathVistaCheck'),
        'ucit': dict(ucit_exact='UCITExact', ucit_caption='UCITCaption'),
    }
    aliases = dict(grounding_coin='grounding_coin_upstream', grounding_minigpt='grounding_minigpt_upstream',
                   scienceqa_llava='scienceqa_hide')
    for module, classes in scorers.items():
        for name, each in classes.items():
            metrics.add(name, f'coinkit.metrics.{module}:{each}', aliases=(aliases[name],) if name in aliases else ())
    metrics.add('judge_parse_coin', 'coinkit.judges.parse:JudgeParse')
