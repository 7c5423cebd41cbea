# CoIN: eight tasks in the published order (arXiv 2403.08350; data: zackschen/CoIN), in three instruction styles.
#
# Style: benchmark = dict(style='original' | 'diverse' | '10type') in a run file, or --cfg-options benchmark.style=diverse;
# methods that group instructions follow it.
# Expected under data.root (coinkit looks there and says what is missing):
#   playground/Instructions_{Original,Diverse,10Type}/<Task>/{train,test|val}.json      the instruction files
#   cl_dataset/{ScienceQA,TextVQA,ImageNet_withlabel,GQA,VizWiz,COCO2014,OCR-VQA}/...   the images
#   cl_dataset/ScienceQA/{problems,pid_splits}.json, TextVQA/TextVQA_0.5.1_val.json, GQA/testdev_balanced_questions.json
#     gold answers, joined by question id; the test rows may hold them instead (options, ten answers).
# Test splits: ScienceQA test, TextVQA val, ImageNet test, GQA testdev balanced, VizWiz val, Grounding test, VQAv2 val,
# OCR-VQA test. Generation lengths are those of the released scripts; evaluation.max_new_tokens=128 caps the four of 1024.
# Mended here: scorers join by id and divide by all annotations (metric mode='upstream' or compat='coin' switches back).
_images = 'cl_dataset'
_source = 'the Hugging Face dataset Zacks-Chen/CoIN'
_readme = 'the archive linked in the README of zackschen/CoIN'
# Pictures and sizes as the sites, papers and hub pages of the sets give them. Size: of the archive. ScienceQA and OCR-VQA:
# of the same pictures as packed in other places (lmms-lab/ScienceQA-IMG, BAAI/DataOptim). TextVQA: 21,953 train and 3,166
# val pictures. VizWiz: one picture per question. ImageNet: of the author's archive of 100 classes, reported cut short.
_images_of = {
    'ScienceQA': {'ScienceQA/images': dict(text=_readme, size='663 MB', pictures=10_332)},
    'TextVQA': {'TextVQA/train_images': dict(text='textvqa.org (train and val images)', size='7.07 GB', pictures=25_119)},
    'ImageNet': {'ImageNet_withlabel': dict(text='image-net.org (ILSVRC; the rows name 100 classes)', size='14 GB')},
    'GQA': {'GQA/images': dict(text='the GQA site of Stanford (images)', size='20.3 GB', pictures=148_854)},
    'VizWiz': {'VizWiz/train': dict(text='vizwiz.org (VQA train images)', pictures=20_523),
               'VizWiz/val': dict(text='vizwiz.org (VQA val images)', pictures=4_319)},
    'Grounding': {'COCO2014/train2014': dict(text='cocodataset.org (2014 train images)', size='13 GB', pictures=82_783)},
    'OCR-VQA': {'OCR-VQA/images': dict(text=_readme, size='8.93 GB', pictures=207_572)}}
_images_of['VQAv2'] = {**_images_of['Grounding'], 'COCO2014/val2014': dict(
    text='cocodataset.org (2014 val images)', size='6 GB', pictures=40_504)}
# How a question is asked, by style and task; {} is the question (with its options, or the phrase). For converters.
_word = '{}\nAnswer the question using a single word or phrase.'
_box = 'Please provide the bounding box coordinate of the region this sentence describes: {}'
_letter = "{}\nAnswer with the option's letter from the given choices directly."
_ask = {
    'original': {
        'ScienceQA': _letter, 'TextVQA': _word, 'ImageNet': _word.replace('{}', 'What is the object in the image?'),
        'GQA': _word, 'VizWiz': _word, 'Grounding': _box, 'VQAv2': _word, 'OCR-VQA': _word},
    'diverse': {
        'ScienceQA': _letter,
        'TextVQA': '{}\nCapture the essence of your response in a single word or a concise phrase.',
        'ImageNet': 'Express the object in the image in a single word or a short, descriptive phrase.',
        'GQA': '{}\nRespond to the question briefly, using only one word or a phrase.',
        'VizWiz': '{}\nProvide a succinct response with a single word or phrase.',
        'Grounding': _box, 'VQAv2': _word,
        'OCR-VQA': '{}\nCondense your answer for each question into a single word or concise phrase.'}}


# Rows as counted by the sets themselves (ScienceQA, TextVQA, GQA testdev balanced, VizWiz; RefCOCO, RefCOCO+ and RefCOCOg:
# a training row per picture and set, all their test phrases) and, for ImageNet, in the file (CoIN issue 4; the paper says
# 117,715). GQA and VQAv2: a training row per picture, as in the paper. The hub's sizes agree for GQA and Grounding.
# Of the others the released files' counts are not published.
_published = {'ScienceQA': dict(train=12_726, test=4_241), 'TextVQA': dict(train=34_602, test=5_000),
              'ImageNet': dict(train=129_833), 'GQA': dict(train=72_140, test=12_578),
              'VizWiz': dict(train=20_523, test=4_319), 'Grounding': dict(train=55_885, test=30_969),
              'VQAv2': dict(train=82_783)}
# Sizes on the hub, train and test, where a page of the hub was seen; '' where not.
_asked_alike = {'ScienceQA': ('7.71 MB', '1.86 MB'), 'Grounding': ('107 MB', '12.9 MB')}  # in both of these styles
_original = {**_asked_alike, 'GQA': ('225 MB', '2.93 MB')}
_diverse = {**_asked_alike, 'GQA': ('226 MB', '3.12 MB'), 'VizWiz': ('8.86 MB', '1.42 MB'), 'OCR-VQA': ('221 MB', '34.8 MB')}


def _style(*folders, sizes):
    return dict(folder=[f'playground/{each}' for each in folders], hub=[f'{each}/*' for each in folders], source=_source,
                **{f'{split} of {task}': sizes.get(task, ('', ''))[split == 'test']
                   for task in _ask['original'] for split in ('train', 'test')})


def _task(name, folder, test, metric, max_new_tokens, kind, description, template='', **gold):
    def rows(split, *files):
        return dict(type='InstructionJson', path=[f'{{folder}}/{folder}/{file}.json' for file in files],
                    image_root=_images, source=dict(text='{source}', size=f'{{{split} of {name}}}'),
                    image_sources=_images_of[name])

    return dict(
        name=name,
        train=rows('train', 'train'),
        test=dict(**rows('test', test, 'test' if test == 'val' else 'val'), **gold),
        metric=dict(type=metric),
        generation=dict(max_new_tokens=max_new_tokens),
        description=description,
        template=template,
        published=_published.get(name, {}),
        mini=dict(train=dict(type='Mini', kind=kind, split='train', style='{style}'),
                  test=dict(type='Mini', kind=kind, split='test', style='{style}'),
                  generation=dict(max_new_tokens=32)))


def _annotations(kind, path, **more):  # optional: rows that hold all of it themselves will do
    return dict(kind=kind, path=f'{_images}/{path}', optional=True, **more)


benchmark = dict(
    name='coin',
    style='original',
    styles={'original': _style('Instructions_Original', 'Instruction_Original', sizes=_original),
            'diverse': _style('Instructions_Diverse', 'Instruction_Diverse', sizes=_diverse),
            '10type': _style('Instructions_10Type', 'Instruction_10Type', sizes={})},
    instructions=_ask,
    downloads=[dict(repo='Zacks-Chen/CoIN', files=['{hub}'], to='playground')],  # pictures: from their own sites
    tasks=[
        _task('ScienceQA', 'ScienceQA', 'test', 'scienceqa_coin', 1024, 'scienceqa', 'science questions with options',
              needs=['num_choices'], annotations=_annotations('scienceqa', 'ScienceQA/problems.json',
                                                              splits=f'{_images}/ScienceQA/pid_splits.json')),
        _task('TextVQA', 'TextVQA', 'val', 'textvqa_m4c', 128, 'textvqa', 'reading text in photos', num_references=10,
              annotations=_annotations('textvqa', 'TextVQA/TextVQA_0.5.1_val.json')),
        _task('ImageNet', 'ImageNet', 'test', 'imagenet_coin', 1024, 'imagenet', 'naming the object of a photo',
              template=r'\A[^\n]*'),  # the second line, below the picture's
        _task('GQA', 'GQA', 'test', 'gqa', 128, 'gqa', 'relations and attributes in scenes',
              annotations=_annotations('gqa', 'GQA/testdev_balanced_questions.json')),
        _task('VizWiz', 'VizWiz', 'val', 'vqa_exact_upper', 128, 'vizwiz', 'photos by blind people, some unanswerable'),
        _task('Grounding', 'Grounding', 'test', 'grounding_coin', 1024, 'grounding', 'the box a phrase refers to',
              template=r'([^:\n]+):[^\n]*\Z'),  # "...the region this sentence describes: left bowl"
        _task('VQAv2', 'VQAv2', 'val', 'vqa_exact_upper', 1024, 'vqav2', 'general questions about photos'),
        _task('OCR-VQA', 'OCRVQA', 'test', 'ocrvqa_coin', 128, 'ocrvqa', 'title, author and genre of book covers'),
    ],
    templates=[  # for a single question, whose task is not known: ImageNet's in CoIN's own files, Grounding's
        r'\A(What is the object in the image\?)', r'([^:\n]+):[^\n]*\Z'],
    orders=dict(
        reverse=['OCR-VQA', 'VQAv2', 'Grounding', 'VizWiz', 'GQA', 'ImageNet', 'TextVQA', 'ScienceQA'],
        alphabet=['GQA', 'Grounding', 'ImageNet', 'OCR-VQA', 'ScienceQA', 'TextVQA', 'VizWiz', 'VQAv2']))
data = dict(root='data/coin')
evaluation = dict(policy='seen', zero_shot=True)
