"""Picture files: missing, empty, damaged and equal ones."""

from __future__ import annotations

from PIL import Image

from coinkit.data.doctor.images import check_references, same_content, sample, undecodable


def picture(path, color):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (32, 32), color).save(path)


class Steps:
    def __init__(self):
        self.done = 0

    def advance(self, count=1, **notes):
        self.done += count


def test_missing_and_empty_files_and_paths_that_lead_out(tmp_path):
    picture(tmp_path / 'a' / '1.png', 'red')
    (tmp_path / 'a' / '2.png').touch()
    (tmp_path / 'a' / '3.png').symlink_to('3.png')
    steps = Steps()
    found = check_references(str(tmp_path), ['a/1.png', 'a/2.png', 'a/3.png', 'a/4.png', '../x.png'], workers=2, bar=steps)
    assert found.missing == ['a/3.png', 'a/4.png', '../x.png'] and found.empty == ['a/2.png'] and steps.done == 5


def test_a_truncated_picture_cannot_be_decoded(tmp_path):
    picture(tmp_path / 'good.png', 'red')
    whole = (tmp_path / 'good.png').read_bytes()
    (tmp_path / 'cut.png').write_bytes(whole[:len(whole) // 2])
    (tmp_path / 'text.png').write_text('<html>not found</html>')
    wrong = undecodable(str(tmp_path), ['good.png', 'cut.png', 'text.png'], workers=3)
    assert set(wrong) == {'cut.png', 'text.png'} and 'cannot be decoded' in wrong['cut.png']


def test_a_sample_is_the_same_at_every_call():
    paths = [str(i) for i in range(100)]
    assert sample(paths, 10, seed='0/a') == sample(paths, 10, seed='0/a') != sample(paths, 10, seed='0/b')
    assert sample(paths, 200, seed='') == paths


def test_equal_bytes_under_other_names(tmp_path):
    for name, color in (('a', 'red'), ('b', 'red'), ('c', 'blue')):
        picture(tmp_path / f'{name}.png', color)
    steps = Steps()
    assert same_content(str(tmp_path), ['a.png', 'b.png', 'c.png', 'none.png'], workers=2, bar=steps) == [['a.png', 'b.png']]
    assert steps.done == 3
