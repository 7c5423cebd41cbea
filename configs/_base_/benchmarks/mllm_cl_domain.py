# MLLM-CL, domain stream: remote sensing, medicine, driving, science, finance (arXiv 2506.05453; bjzhb666/MLLM-CL).
#
# Expected under data.root, from the Hugging Face dataset MLLM-CL/MLLM-CL (about 18 GiB):
#   {RS,Med,AD,Sci,Fin}/{images/,train.json,test.json}   or the scripts' older names RemoteSensing, Medical/data, AD/DriveLM;
#   below domain/ as well.
# task5Router_train20.json and task5replay20_train.json are not read: router and replay rows are drawn from the train files.
# Mended: scorers join by id and divide by all annotations (compat='mllm_cl' switches back).
# Kept: Fin's question ends in a request that depends on the gold answer, so it tells whether that is Yes/No or a letter.
# Switch med_suffix: the untuned baseline (MCITlib: every model) is asked for a single word on Med. With
#   --cfg-options "benchmark.per_task.Med.test.suffix=' Answer the question with a single word (or phrase).'"
# every row of the run is; domain_llava_zero_shot.py, the baseline, and domain_mcitlib_llava_*.py do so. Else no row is.
# One download holds all five; what a single domain takes is not published. Rows: as the hub page of MLLM-CL/DCL-10Percent
# counts the test sets, which it keeps whole.
_source = dict(text='the Hugging Face dataset MLLM-CL/MLLM-CL (domain part)', size='18 GiB', archive='MLLM-CL domain')
_published = {'Med': dict(test=9_790), 'AD': dict(test=10_000), 'Fin': dict(test=10_000)}


def _task(name, letter, folders, metric, kind, description, mini_metric=None, expert_schedule=None, **test):
    folders = [*folders, f'domain/{folders[0]}']  # the last: as the hub has it

    def rows(split):
        return dict(type='InstructionJson', path=[f'{folder}/{split}.json' for folder in folders], image_root=folders,
                    source=_source, image_sources={'images': _source})

    return dict(
        name=name,
        train=rows('train'),
        test=dict(**rows('test'), **test),
        metric=dict(type=metric),
        generation=dict(max_new_tokens=128),
        description=description,
        letter=letter,  # as published
        expert_schedule=expert_schedule or {},
        published=_published.get(name, {}),
        mini=dict(train=dict(type='Mini', kind=kind, split='train'), test=dict(type='Mini', kind=kind, split='test'),
                  metric=dict(type=mini_metric or metric), generation=dict(max_new_tokens=16)))


benchmark = dict(
    name='mllm_cl_domain',
    downloads=[dict(repo='MLLM-CL/MLLM-CL', files=['domain/*'], size='18 GiB')],
    tasks=[
        _task('RS', 'E', ['RS', 'RemoteSensing'], 'mllmcl_rs', 'vqav2', 'remote sensing: satellite and aerial pictures'),
        _task('Med', 'C', ['Med', 'Medical/data'], 'mllmcl_med', 'gqa', 'medicine: pathology pictures'),
        _task('AD', 'D', ['AD', 'AD/DriveLM'], 'mllmcl_rs', 'vizwiz', 'autonomous driving: six camera views in one picture'),
        _task('Sci', 'B', ['Sci'], 'mllmcl_sci', 'scienceqa', 'science: diagrams, textbook figures and maps',
              mini_metric='scienceqa_coin', expert_schedule=dict(epochs=3)),
        _task('Fin', 'A', ['Fin'], 'mllmcl_fin', 'imagenet', 'finance: stock charts', suffix={
            'yes|no': ' Only answer with yes or no directly.',
            '': ' Answer with the given letter directly, e.g., A, B, C, D.'}),
    ],
    orders=dict(reverse=['Fin', 'Sci', 'AD', 'Med', 'RS']))
data = dict(root='data/mllm_cl/domain')
evaluation = dict(policy='seen', zero_shot=True)
