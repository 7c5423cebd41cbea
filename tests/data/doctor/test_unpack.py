"""Archives: what is unpacked, what is refused, and that an interrupted unpacking goes on."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile

import pytest

from coinkit.data.doctor import unpack as unpack_module
from coinkit.data.doctor.unpack import is_archive, is_unpacked, marker_of, unpack
from coinkit.errors import DataError

FILES = {'images/1.jpg': b'one', 'images/deep/2.jpg': b'two' * 1000, 'train.json': b'[]'}


def zipped(path, files=FILES, **flags):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path, files=FILES, mode='w:gz', extra=()):
    with tarfile.open(path, mode) as archive:
        folder = tarfile.TarInfo('./')
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return path


@pytest.mark.parametrize('name, make', [('a.zip', zipped), ('a.tar.gz', tarred), ('a.tgz', tarred),
                                        ('a.tar', lambda path: tarred(path, mode='w'))])
def test_files_come_out_where_the_archive_lies(tmp_path, name, make):
    archive = make(tmp_path / name)
    assert is_archive(archive) and not is_unpacked(archive)
    steps = []
    assert unpack(archive, advance=steps.append) == 3
    assert {each: (tmp_path / each).read_bytes() for each in FILES} == FILES
    assert sum(steps) == sum(map(len, FILES.values()))
    assert is_unpacked(archive) and not list(tmp_path.rglob('*.tmp-*'))


def test_a_marker_outlives_its_archive_but_not_another_one(tmp_path):
    archive = zipped(tmp_path / 'a.zip')
    unpack(archive)
    archive.unlink()
    assert is_unpacked(archive)
    zipped(archive, {'train.json': b'[1, 2, 3]'})
    assert not is_unpacked(archive)


@pytest.mark.parametrize('name', ['../out.txt', '/tmp/out.txt', 'a/../../out.txt', '..\\out.txt'])
@pytest.mark.parametrize('make, suffix', [(zipped, 'zip'), (tarred, 'tar.gz')])
def test_nothing_is_written_outside(tmp_path, name, make, suffix):
    inside = tmp_path / 'data'
    inside.mkdir()
    with pytest.raises(DataError, match='leads out of the folder'):
        unpack(make(inside / f'a.{suffix}', {name: b'x'}))
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == [f'a.{suffix}']


def test_links_and_devices_are_refused(tmp_path):
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo('bad')
        info.type, info.linkname = kind, '/etc/passwd'
        with pytest.raises(DataError, match='link or a device'):
            unpack(tarred(tmp_path / 'a.tar.gz', {}, extra=[info]))
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        info = zipfile.ZipInfo('bad')
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, '/etc/passwd')
    with pytest.raises(DataError, match='link or a device'):
        unpack(tmp_path / 'a.zip')
    assert not os.path.lexists(tmp_path / 'bad')


@pytest.mark.parametrize('make, suffix', [(zipped, 'zip'), (tarred, 'tar.gz')])
def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch, make, suffix):
    monkeypatch.setattr(unpack_module, 'FREE_BYTES', 1000)
    with pytest.raises(DataError, match='times its size'):
        unpack(make(tmp_path / f'a.{suffix}', {f'{i}': bytes(1 << 20) for i in range(4)}))
    assert not marker_of(tmp_path / f'a.{suffix}').exists()


@pytest.mark.parametrize('make, suffix', [(zipped, 'zip'), (tarred, 'tar.gz')])
def test_a_cut_archive_is_an_error_and_its_good_files_stay(tmp_path, make, suffix):
    files = {'1.bin': os.urandom(50_000), '2.bin': os.urandom(50_000)}
    archive = make(tmp_path / f'a.{suffix}', files)
    archive.write_bytes(archive.read_bytes()[:-30_000])
    with pytest.raises(DataError, match=r'a\.(zip|tar\.gz): (cannot be unpacked|ends inside)'):
        unpack(archive)
    assert not is_unpacked(archive) and not (tmp_path / '2.bin').exists() and not list(tmp_path.glob('.*tmp*'))


def test_an_interrupted_unpacking_goes_on(tmp_path):
    archive = zipped(tmp_path / 'a.zip')

    def stop(size):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, advance=stop)
    assert (tmp_path / 'images/1.jpg').read_bytes() == b'one' and not is_unpacked(archive)
    before = (tmp_path / 'images/1.jpg').stat().st_mtime_ns
    assert unpack(archive) == 3 and is_unpacked(archive)
    assert (tmp_path / 'images/1.jpg').stat().st_mtime_ns == before


def test_a_file_of_the_user_is_not_overwritten(tmp_path):
    archive = zipped(tmp_path / 'a.zip')
    (tmp_path / 'train.json').write_text('[mine]')
    with pytest.raises(DataError, match=r'train\.json: is there already'):
        unpack(archive)
    assert (tmp_path / 'train.json').read_text() == '[mine]'
