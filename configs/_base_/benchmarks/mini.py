# The mini stream: eight drawn tasks named and formatted after CoIN's, in CoIN's order. Nothing to download.
# style: 'original' | 'diverse' | '10type' (how the instruction is worded), as in CoIN.
_style = 'original'


def _task(name, kind, metric, max_new_tokens=16):
    return dict(
        name=name,
        train=dict(type='Mini', kind=kind, split='train', style=_style),
        test=dict(type='Mini', kind=kind, split='test', style=_style),
        metric=dict(type=metric),
        generation=dict(max_new_tokens=max_new_tokens))


benchmark = dict(
    name='mini',
    tasks=[
        _task('ScienceQA', 'scienceqa', 'scienceqa_coin'),
        _task('TextVQA', 'textvqa', 'textvqa_m4c'),
        _task('ImageNet', 'imagenet', 'imagenet_coin'),
        _task('GQA', 'gqa', 'gqa'),
        _task('VizWiz', 'vizwiz', 'vqa_exact_upper'),
        _task('Grounding', 'grounding', 'grounding_coin', max_new_tokens=32),
        _task('VQAv2', 'vqav2', 'vqa_exact_upper'),
        _task('OCR-VQA', 'ocrvqa', 'ocrvqa_coin'),
    ],
    orders=dict(
        reverse=['OCR-VQA', 'VQAv2', 'Grounding', 'VizWiz', 'GQA', 'ImageNet', 'TextVQA', 'ScienceQA'],
        alphabet=['GQA', 'Grounding', 'ImageNet', 'OCR-VQA', 'ScienceQA', 'TextVQA', 'VizWiz', 'VQAv2']))
evaluation = dict(policy='seen', zero_shot=True)
