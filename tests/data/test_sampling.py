"""Global batch n is a function of (seed, n): not of the number of processes, the accumulation or the history."""

from dataclasses import dataclass

import pytest

from coinkit.data.sampling import BatchSampler, Mix, Subset


@dataclass
class Numbers:
    """A dataset of numbers."""

    start: int
    size: int

    @property
    def fingerprint(self):
        return f'{self.start}+{self.size}'

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return self.start + index


def test_every_epoch_sees_every_sample_once():
    sampler = BatchSampler(10, batch_size=4, num_samples=20, seed=3)
    seen = [position for n in range(5) for position in sampler.batch(n)]
    assert sorted(seen[:10]) == list(range(10)) == sorted(seen[10:])
    assert seen[:10] != seen[10:]


def test_batches_do_not_depend_on_the_order_they_are_asked_in():
    forward, backward = (BatchSampler(7, batch_size=3, num_samples=21, seed=1) for _ in range(2))
    assert [forward.batch(n) for n in range(7)] == [backward.batch(n) for n in reversed(range(7))][::-1]


def test_the_last_batch_may_be_short():
    assert [len(BatchSampler(5, batch_size=4, num_samples=5, seed=0).batch(n)) for n in (0, 1)] == [4, 1]


@pytest.mark.parametrize('world_size, micro, accumulation', [(1, 8, 1), (2, 4, 1), (2, 2, 2), (4, 2, 1), (1, 3, 3)])
def test_ranks_and_micro_batches_share_one_global_batch(world_size, micro, accumulation):
    sampler = BatchSampler(50, batch_size=8, num_samples=50, seed=9)
    for n in (0, 6):  # batch 6 holds two samples
        shares = [sampler.share(n, rank=rank, world_size=world_size, micro_batch_size=micro, accumulation=accumulation)
                  for rank in range(world_size)]
        assert all(len(share) == accumulation for share in shares)
        joined = sorted(position for share in shares for batch in share for position in batch)
        assert joined == sorted(sampler.batch(n))


def test_different_seeds_shuffle_differently():
    assert BatchSampler(30, batch_size=30, num_samples=30, seed=0).batch(0) != \
        BatchSampler(30, batch_size=30, num_samples=30, seed=1).batch(0)


def test_a_mix_is_its_parts_in_order():
    mix = Mix(Numbers(0, 3))
    mix.add(Numbers(100, 2), repeat=2)
    assert [mix[i] for i in range(len(mix))] == [0, 1, 2, 100, 101, 100, 101]
    assert mix.fingerprint != Mix(Numbers(0, 3)).fingerprint


def test_a_subset_is_picked_by_position():
    part = Subset(Numbers(10, 5), [4, 0])
    assert [part[0], part[1]] == [14, 10] and len(part) == 2


# --- places in every batch ----------------------------------------------------------------------------------------


def test_a_dataset_with_places_is_in_every_batch():
    mix = Mix(Numbers(0, 10))
    mix.add_to_every_batch(Numbers(100, 3), 2)
    assert (mix.own, mix.places, len(mix)) == (10, [(3, 2)], 13)
    sampler = BatchSampler(mix.own, batch_size=6, places=mix.places, num_samples=10, seed=5)
    batches = [[mix[i] for i in sampler.batch(n)] for n in range(3)]
    assert [len(batch) for batch in batches] == [6, 6, 4]  # the last one has two samples of its own left
    assert [sum(sample >= 100 for sample in batch) for batch in batches] == [2, 2, 2]
    assert sorted(sample for batch in batches for sample in batch if sample < 100) == list(range(10))
    old = [sample for batch in batches for sample in batch if sample >= 100]
    assert sorted(old) == [100, 100, 101, 101, 102, 102]  # two passes over the three
    assert any(batch[-2:] != sorted(batch)[-2:] for batch in batches), 'shuffled among the others'


def test_places_leave_the_order_of_the_others_as_it_is():
    plain = BatchSampler(10, batch_size=4, num_samples=20, seed=3)
    beside = BatchSampler(10, batch_size=6, num_samples=20, seed=3, places=[(5, 2)])
    assert [sorted(plain.batch(n)) for n in range(5)] == [sorted(p for p in beside.batch(n) if p < 10) for n in range(5)]


def test_a_mix_tells_its_places_by_its_fingerprint():
    one, two = Mix(Numbers(0, 3)), Mix(Numbers(0, 3))
    one.add(Numbers(9, 2))
    two.add_to_every_batch(Numbers(9, 2), 1)
    assert one.fingerprint != two.fingerprint
