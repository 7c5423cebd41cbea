# CoIN, original instructions: eight tasks in the published order (arXiv 2403.08350; data: zackschen/CoIN).
#
# Expected under data.root (coinkit looks there and says what is missing):
#   playground/Instructions_Original/<Task>/{train,test|val}.json      the instruction files
#   cl_dataset/{ScienceQA,TextVQA,ImageNet_withlabel,GQA,VizWiz,COCO2014,OCR-VQA}/...   the images
# Test splits: ScienceQA test, TextVQA val, ImageNet test, GQA testdev balanced, VizWiz val, Grounding test, VQAv2 val,
# OCR-VQA test. Generation lengths are those of the released scripts.
# Mended here: scorers join by id and divide by all annotations (metric mode='upstream' or compat='coin' switches back).
_instructions, _images = 'playground/Instructions_Original', 'cl_dataset'
_source = 'the Hugging Face dataset Zacks-Chen/CoIN'
_readme = 'the archive linked in the README of zackschen/CoIN'
_vizwiz = {f'VizWiz/{split}': f'vizwiz.org (VQA {split} images)' for split in ('train', 'val')}
_coco = {'COCO2014/train2014': 'cocodataset.org (2014 train images)'}
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


def _task(name, folder, test, metric, max_new_tokens, kind, images, description):
    def rows(file):
        return dict(type='InstructionJson', path=f'{_instructions}/{folder}/{file}.json', image_root=_images,
                    source=_source, image_sources=images)

    return dict(
        name=name,
        train=rows('train'),
        test=rows(test),
        metric=dict(type=metric),
        generation=dict(max_new_tokens=max_new_tokens),
        description=description,
        mini=dict(train=dict(type='Mini', kind=kind, split='train'), test=dict(type='Mini', kind=kind, split='test'),
                  generation=dict(max_new_tokens=32)))


benchmark = dict(
    name='coin',
    instructions=_ask,
    tasks=[
        _task('ScienceQA', 'ScienceQA', 'test', 'scienceqa_coin', 1024, 'scienceqa',
              {'ScienceQA/images': _readme}, 'science questions with options'),
        _task('TextVQA', 'TextVQA', 'val', 'textvqa_m4c', 128, 'textvqa',
              {'TextVQA/train_images': 'textvqa.org (train and val images)'}, 'reading text in photos'),
        _task('ImageNet', 'ImageNet', 'test', 'imagenet_coin', 1024, 'imagenet',
              {'ImageNet_withlabel': 'image-net.org (ILSVRC; the rows name 100 classes)'}, 'naming the object of a photo'),
        _task('GQA', 'GQA', 'test', 'gqa', 128, 'gqa',
              {'GQA/images': 'the GQA site of Stanford (images)'}, 'relations and attributes in scenes'),
        _task('VizWiz', 'VizWiz', 'val', 'vqa_exact_upper', 128, 'vizwiz',
              _vizwiz, 'photos by blind people, some unanswerable'),
        _task('Grounding', 'Grounding', 'test', 'grounding_coin', 1024, 'grounding',
              _coco, 'the box a phrase refers to'),
        _task('VQAv2', 'VQAv2', 'val', 'vqa_exact_upper', 1024, 'vqav2',
              {**_coco, 'COCO2014/val2014': 'cocodataset.org (2014 val images)'}, 'general questions about photos'),
        _task('OCR-VQA', 'OCRVQA', 'test', 'ocrvqa_coin', 128, 'ocrvqa',
              {'OCR-VQA/images': _readme}, 'title, author and genre of book covers'),
    ],
    templates=[  # for methods that group instructions; else the last line is the instruction
        r'\A(What is the object in the image\?)',  # ImageNet's question is its instruction
        r'([^:\n]+):[^\n]*\Z'],  # Grounding: "...the region this sentence describes: left bowl"
    orders=dict(
        reverse=['OCR-VQA', 'VQAv2', 'Grounding', 'VizWiz', 'GQA', 'ImageNet', 'TextVQA', 'ScienceQA'],
        alphabet=['GQA', 'Grounding', 'ImageNet', 'OCR-VQA', 'ScienceQA', 'TextVQA', 'VizWiz', 'VQAv2']))
data = dict(root='data/coin')
evaluation = dict(policy='seen', zero_shot=True)
