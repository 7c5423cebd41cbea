"""Opening a large data file by its index against `json.load`: `python tests/bench/bench_index.py [--records 1000000]`.

Each way runs in processes of its own. Processor seconds, so that a busy machine does not change them much; memory is what a
process has for itself (private bytes of /proc/self/smaps_rollup: pages of the mapped index and of the page cache are shared)
and what it has in all (RSS), less what it had before. Every record is compared before anything is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECORDS, WORKERS = 1_000_000, 8
SHARE = 0.05  # of json.load's seconds and of its memory
READS = 2000  # records that each process reads, anywhere in the file


def write(path: Path, records: int) -> None:
    """Conversations as in LLaVA's files."""
    draw = random.Random(0)
    words = [''.join(draw.choices('abcdefghijklmnopqrstuvwxyz', k=draw.randint(2, 9))) for _ in range(2000)]
    with open(path, 'w', encoding='utf-8') as file:
        for i in range(records):
            question = ' '.join(draw.choices(words, k=9))
            row = {'id': f'{i:07d}', 'image': f'coco/train2014/COCO_train2014_{i // 3:012d}.jpg', 'conversations': [
                {'from': 'human', 'value': f'<image>\n{question}?\nAnswer the question using a single word or phrase.'},
                {'from': 'gpt', 'value': draw.choice(words)}]}
            file.write(('[\n' if i == 0 else ',\n') + json.dumps(row))
        file.write('\n]\n')


# --- what each process does ---------------------------------------------------------------------------------------


def memory() -> dict[str, int]:
    """Bytes of this process: private ones, and all that are in memory."""
    gc.collect()
    text = Path('/proc/self/smaps_rollup').read_text()
    found = {name: 1024 * int(size) for name, size in re.findall(r'^(\w+):\s+(\d+) kB$', text, re.MULTILINE)}
    return {'private': found['Private_Clean'] + found['Private_Dirty'], 'rss': found['Rss']}


def measured(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    before, start = memory(), time.process_time()
    kept = work()
    seconds = time.process_time() - start
    after = memory()
    return kept, {'seconds': seconds, **{key: after[key] - before[key] for key in after}}


def by_json(path: Path) -> dict[str, float]:
    def load() -> list[Any]:
        with open(path, encoding='utf-8') as file:
            return json.load(file)

    kept, found = measured(load)
    return found | {'records': len(kept)}


def by_index(path: Path) -> dict[str, float]:
    """Opened, and then read from: what a worker has in the end."""
    from coinkit.datasets.instructions import InstructionJson

    dataset, opened = measured(lambda: InstructionJson(str(path)))
    places = random.Random(1).sample(range(len(dataset)), min(READS, len(dataset)))
    _, reading = measured(lambda: [dataset[i] for i in places] and None)
    return opened | {'records': len(dataset), 'private_reading': opened['private'] + reading['private'],
                     'record_us': 1e6 * reading['seconds'] / len(places)}


def build(path: Path) -> dict[str, float]:
    """The first opening of all, with a look at every record; and whether all records are json's."""
    from coinkit.data.index import open_index
    from coinkit.datasets.instruction_rows import SURVEY

    index, found = measured(lambda: open_index(path, survey=SURVEY))
    with open(path, encoding='utf-8') as file:
        assert all(index.record(i) == record for i, record in enumerate(json.load(file)))
    return found


WAYS = {'json': by_json, 'index': by_index, 'build': build}


def run(way: str, path: Path, count: int = 1) -> list[dict[str, float]]:
    """`count` processes at a time."""
    command = [sys.executable, __file__, '--way', way, '--path', str(path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    said = [process.communicate()[0] for process in started]
    assert not any(process.returncode for process in started), said
    return [json.loads(text) for text in said]


def measure(records: int = RECORDS) -> dict[str, float]:
    """Seconds and MiB of each way, their ratios, and the private memory of all workers together."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'rows.json'
        write(path, records)
        (built,), (whole,), workers = run('build', path), run('json', path), run('index', path, WORKERS)
        size = path.stat().st_size
    mib, worst = 2.0**20, {key: max(each[key] for each in workers) for key in workers[0]}
    assert {each['records'] for each in (*workers, whole)} == {records}
    return {'records': records, 'file_mib': size / mib, 'json_s': whole['seconds'], 'json_mib': whole['private'] / mib,
            'build_s': built['seconds'], 'open_s': worst['seconds'], 'open_mib': worst['private'] / mib,
            'open_rss_mib': worst['rss'] / mib, 'record_us': worst['record_us'],
            'seconds open/json': worst['seconds'] / whole['seconds'],
            'memory open/json': worst['private'] / whole['private'], 'rss open/json': worst['rss'] / whole['rss'],
            'memory of a reading worker/json': worst['private_reading'] / whole['private'],
            f'{WORKERS}_workers_mib': sum(each['private_reading'] for each in workers) / mib}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--records', type=int, default=RECORDS)
    parser.add_argument('--way', choices=WAYS, help='what one process does; used by the script itself')
    parser.add_argument('--path', type=Path)
    args = parser.parse_args()
    if args.way:
        sys.stdout.write(json.dumps(WAYS[args.way](args.path)))
        return 0
    found = measure(args.records)
    sys.stdout.write(json.dumps({key: round(value, 4) for key, value in found.items()}, indent=1) + '\n')
    return int(max(found['seconds open/json'], found['rss open/json'], found['memory of a reading worker/json']) > SHARE)


if __name__ == '__main__':
    sys.exit(main())
