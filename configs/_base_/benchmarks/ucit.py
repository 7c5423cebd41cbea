# UCIT: six tasks chosen not to overlap with LLaVA's own tuning data (HiDe-LLaVA, ACL 2025; Ghy0501/HiDe-LLaVA).
#
# Expected under data.root:
#   instructions/{ImageNet-R,ArxivQA,VizWiz,IconQA,CLEVR,Flickr30k}/{train*,test_3000}.json   the Hugging Face dataset
#     HaiyangGuo/UCIT; or MCITlib's layout: without instructions/, CLEVR-Math for CLEVR, train.json and test.json
#   instructions/{VizWiz,Flickr30k}/val_coco_type_3000.json    the reference captions
#   datasets/{ImageNet-R,ArxivQA,VizWiz,IconQA,CLEVR,Flickr30k}/...   the images (or directly below data.root)
# The captions' image ids are places in the test file. As published nothing checks that; here the rows' pictures, ids or
# captions must agree, and annotations=dict(..., join='position') goes by the place alone.
# Captions need pycocoevalcap and Java: pip install 'coinkit[caption]'. Without Java their cells are null and say why;
# metric caption_tokenizer='simple' gives other numbers.
# Mended: scorers join by id and divide by all annotations (metric mode='upstream' switches back).
# Pictures and sizes as papers, sites and hub pages of the sets give them (ImageNet-R: axiong/imagenet-r; CLEVR: TensorFlow
# Datasets; Flickr30k: nlphuji/flickr30k). Size: of the archive.
_instructions = 'the Hugging Face dataset HaiyangGuo/UCIT'


def _task(name, folders, train, metric, kind, description, image_sources, captions=False):
    def places(*names):
        return [f'{above}{folder}/{file}.json' for above in ('instructions/', '') for folder in folders for file in names]

    def rows(*names):
        return dict(type='InstructionJson', path=places(*names), image_root=['datasets', ''], source=_instructions,
                    image_sources=image_sources)

    gold = dict(annotations=dict(kind='coco_captions', path=places('val_coco_type_3000'), source=_instructions))
    return dict(
        name=name,
        train=rows(*train),
        test=dict(**rows('test_3000', 'test'), **(gold if captions else {})),
        metric=dict(type=metric),
        generation=dict(max_new_tokens=128),
        description=description,
        published=dict(train=40_000, test=3_000) if '4w' in train[0] else dict(test=3_000),  # as the file names say
        mini=dict(train=dict(type='Mini', kind=kind, split='train'), test=dict(type='Mini', kind=kind, split='test'),
                  metric=dict(type='ucit_exact'), generation=dict(max_new_tokens=16)))


benchmark = dict(
    name='ucit',
    downloads=[dict(repo='HaiyangGuo/UCIT')],  # instructions, ImageNet-R and Flickr30k
    tasks=[
        _task('ImageNet-R', ['ImageNet-R'], ['train'], 'ucit_exact', 'imagenet', 'naming the object of a drawing',
              {'ImageNet-R': dict(text=_instructions, size='2.19 GB', pictures=30_000)}),
        _task('ArxivQA', ['ArxivQA'], ['train_4w', 'train'], 'ucit_exact', 'scienceqa', 'options about figures of papers',
              {'ArxivQA/images': dict(text='the Hugging Face dataset MMInstruction/ArxivQA', size='7.95 GB')}),
        _task('VizWiz-cap', ['VizWiz'], ['train'], 'ucit_caption', 'vizwiz', 'captions of photos by blind people',
              {'VizWiz': dict(text='vizwiz.org (train, val and test images)', pictures=39_181)}, captions=True),
        _task('IconQA', ['IconQA'], ['train'], 'ucit_exact', 'gqa', 'options about icons and abstract diagrams',
              {'IconQA/iconqa_data/iconqa': 'iconqa.github.io'}),
        _task('CLEVR-Math', ['CLEVR', 'CLEVR-Math'], ['train_4w', 'train'], 'ucit_exact', 'vqav2',
              'adding and removing objects of a scene',
              {'CLEVR/images|CLEVR-Math/images': dict(text='the Hugging Face dataset dali-does/clevr-math', size='19 GB',
                                                      pictures=100_000)}),
        _task('Flickr30k-cap', ['Flickr30k'], ['train_brief_4w', 'train'], 'ucit_caption', 'ocrvqa', 'captions of photos',
              {'Flickr30k': dict(text=_instructions, size='4.39 GB', pictures=31_783)}, captions=True),
    ])
data = dict(root='data/ucit')
evaluation = dict(policy='seen', zero_shot=True)
