# CoIN-Refined (LCIA, JingyangQiao/CoIN): CoIN's eight tasks, order, images and test splits with other instruction files.
# Expected under data.root: as for coin.py, with the files of the Hugging Face dataset jingyang/CoIN_Refined in
#   playground/{Instructions,Instructions_Diverse,Instructions_10Type}/<Task>/{train,test|val}.json
# (the first is the original style). The images and gold files of CoIN serve both: data.root=data/coin works too.
# ImageNet asks in one line here ("Answer the object in the image ..."), in two in CoIN's own files.
# Released and mended here: the three styles wrote to one output directory, so that evaluation of the diverse style read a
# checkpoint of another group. A directory here belongs to one config, and a run of another is refused in it. The default is
# work_dirs/<name of the run file>, so styles, and streams whose run files share a name, need a --work-dir each.
# Scorers as in coin.py; compat='lcia' switches back.
# Nobody tells how large these files are; rows are expected where the sets themselves count them.
_base_ = ['coin.py']
_source = 'the Hugging Face dataset jingyang/CoIN_Refined'


_tasks = ['ScienceQA', 'TextVQA', 'ImageNet', 'GQA', 'VizWiz', 'Grounding', 'VQAv2', 'OCR-VQA']


def _style(folder):
    return dict(folder=[f'playground/{folder}'], hub=[f'{folder}/*'], source=_source,
                **{f'{split} of {task}': '' for task in _tasks for split in ('train', 'test')})  # sizes: not CoIN's


benchmark = dict(
    name='coin_refined',
    per_task={  # as CoIN's own files have them, and none of these
        'ImageNet': dict(published=dict(train=None)), 'GQA': dict(published=dict(train=None)),
        'Grounding': dict(published=dict(train=None, test=None)), 'VQAv2': dict(published=dict(train=None))},
    instructions=dict(original={'ImageNet': 'Answer the object in the image using a single word or phrase.'}),
    styles={'original': _style('Instructions'), 'diverse': _style('Instructions_Diverse'),
            '10type': _style('Instructions_10Type')},
    downloads=[dict(repo='jingyang/CoIN_Refined', files=['{hub}'], to='playground')])
data = dict(root='data/coin_refined')
