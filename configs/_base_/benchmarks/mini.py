# The mini stream: eight drawn tasks named and formatted after CoIN's, in CoIN's order. Nothing to download.
# Style: benchmark = dict(style='original' | 'diverse' | '10type'), how the instruction is worded, as in CoIN.


def _task(name, kind, metric, description, max_new_tokens=16, template=''):
    return dict(
        name=name,
        train=dict(type='Mini', kind=kind, split='train', style='{style}'),
        test=dict(type='Mini', kind=kind, split='test', style='{style}'),
        metric=dict(type=metric),
        generation=dict(max_new_tokens=max_new_tokens),
        description=description,  # short: a router's prompt lists them all in 512 tokens
        template=template)


_box = r'\A(provide the bounding box) of the'  # without the object
benchmark = dict(
    name='mini',
    style='original',
    styles={'original': {}, 'diverse': {}, '10type': {}},
    tasks=[
        _task('ScienceQA', 'scienceqa', 'scienceqa_coin', 'letter of an option'),
        _task('TextVQA', 'textvqa', 'textvqa_m4c', 'text on a sign'),
        _task('ImageNet', 'imagenet', 'imagenet_coin', 'what is the object'),
        _task('GQA', 'gqa', 'gqa', 'left, right, above or below'),
        _task('VizWiz', 'vizwiz', 'vqa_exact_upper', 'color, or unanswerable'),
        _task('Grounding', 'grounding', 'grounding_coin', 'bounding box', max_new_tokens=32, template=_box),
        _task('VQAv2', 'vqav2', 'vqa_exact_upper', 'how many'),
        _task('OCR-VQA', 'ocrvqa', 'ocrvqa_coin', 'title of a book'),
    ],
    templates=[_box],  # for a single question, whose task is not known
    orders=dict(
        reverse=['OCR-VQA', 'VQAv2', 'Grounding', 'VizWiz', 'GQA', 'ImageNet', 'TextVQA', 'ScienceQA'],
        alphabet=['GQA', 'Grounding', 'ImageNet', 'OCR-VQA', 'ScienceQA', 'TextVQA', 'VizWiz', 'VQAv2']))
evaluation = dict(policy='seen', zero_shot=True)
