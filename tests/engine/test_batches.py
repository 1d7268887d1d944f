"""Batches: every image once an epoch, random access, slices by process, sizes."""

import numpy as np
import pytest
import torch

from engine.tiny import FakePack
from kontrast import distributed
from kontrast.engine import batches as module
from kontrast.engine.batches import Batches, derive, generator
from kontrast.engine.sizes import common_size
from kontrast.errors import UsageError


def _batches(pack=None, rows=None, **options):
    pack = pack or FakePack()
    return Batches([(pack, np.arange(len(pack)) if rows is None else rows)], 8, 3, "cpu", **options)


def test_an_epoch_holds_every_row_once_and_epochs_differ():
    rows = np.arange(1, 40, 2)
    batches = Batches([(FakePack(), rows)], 5, 0, "cpu")
    epochs = [np.concatenate([batches.at(e * 4 + i).rows for i in range(4)]) for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(rows)
    assert not np.array_equal(epochs[0], epochs[1])


def test_images_and_ids_belong_to_their_rows():
    pack = FakePack()
    batch = _batches(pack).at(7)
    np.testing.assert_array_equal(batch.images[:, 0].numpy(), pack.images(batch.rows))
    assert batch.ids == list(pack.table["image_id"].iloc[batch.rows])
    assert batch.images.dtype == torch.uint8 and batch.images.shape == (8, 1, 8, 8)


def test_stream_equals_random_access_from_anywhere():
    batches, again = _batches(), _batches()
    for batch in batches.stream(3, 13):
        other = again.at(batch.step)
        assert torch.equal(batch.images, other.images)
        assert batch.ids == other.ids


def test_stream_can_be_left_and_its_errors_arrive():
    batches = _batches()
    stream = batches.stream(0, 1000)
    next(stream)
    stream.close()
    pack = FakePack()
    pack.images = lambda rows: (_ for _ in ()).throw(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        next(_batches(pack).stream(0, 2))


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_batch_in_order(monkeypatch, world):
    whole = _batches().at(2)
    parts = []
    monkeypatch.setattr(distributed, "world_size", lambda: world)
    for rank in range(world):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(_batches().at(2))
    np.testing.assert_array_equal(np.concatenate([p.rows for p in parts]), whole.rows)
    assert [p.first for p in parts] == [i * 8 // world for i in range(world)]
    assert {p.total for p in parts} == {8}


def test_a_ragged_last_batch_is_dropped_or_kept():
    assert _batches(FakePack(20)).steps_per_epoch == 2
    kept = _batches(FakePack(20), drop_last=False)
    assert kept.steps_per_epoch == 3
    assert [len(kept.at(i)) for i in range(4)] == [8, 8, 4, 8]
    assert kept.at(2).total == 4


def test_weights_draw_with_replacement_in_proportion():
    weights = np.ones(40)
    weights[:4] = 12
    batches = _batches(weights=weights)
    drawn = np.concatenate([batches.at(i).rows for i in range(500)])
    assert np.mean(drawn < 4) == pytest.approx(48 / 84, abs=0.02)


def test_several_packs_of_several_sizes():
    small, large = FakePack(10, 8, seed=1), FakePack(30, 16, seed=2)
    batches = Batches([(small, np.arange(10)), (large, np.arange(0, 30, 2))], 25, 0, "cpu")
    batch = batches.at(0)
    assert batch.images.shape == (25, 1, 8, 8)
    assert set(batch.rows) == set(range(10)) | {10 + i for i in range(0, 30, 2)}
    for image, row, name in zip(batch.images, batch.rows, batch.ids, strict=True):
        if row < 10:
            np.testing.assert_array_equal(image[0].numpy(), small.images(np.array([row]))[0])
            assert name == small.table["image_id"][row]
        else:
            source = large.images(np.array([row - 10]))[0].astype(float)
            assert float(image.float().mean()) == pytest.approx(source.mean(), abs=1)
            assert name == large.table["image_id"][row - 10]
    assert batches.load_whole()
    assert torch.equal(batches.at(0).images, batch.images)


def test_each_image_comes_with_another_of_its_group_wherever_it_is_read_from():
    small, large = FakePack(10, 8, seed=1), FakePack(30, 16, seed=2)
    rows = np.arange(0, 30, 2)
    groups = np.arange(25) % 7
    groups[3] = 99
    batches = Batches([(small, np.arange(10)), (large, rows)], 8, 0, "cpu", groups=groups)
    names = np.array([*small.table["image_id"], *large.table["image_id"].iloc[rows]])
    group_of = dict(zip(names, groups, strict=True))
    images = {}
    for step in range(6):
        batch = batches.at(step)
        images |= dict(zip(batch.ids, batch.images, strict=True))
        for name, other in zip(batch.ids, batch.partner_ids, strict=True):
            assert group_of[name] == group_of[other]
            assert (name == other) == (group_of[name] == 99)
    for batch in batches.stream(0, 6):
        for name, image in zip(batch.partner_ids, batch.partners, strict=True):
            assert torch.equal(image, images[name])
    before = batches.at(4)
    assert batches.load_whole()
    after = batches.at(4)
    assert after.partner_ids == before.partner_ids and torch.equal(after.partners, before.partners)
    assert _batches().at(0).partners is None


@pytest.mark.parametrize("world", [2, 4])
def test_partners_are_drawn_for_the_whole_batch_from_seed_and_step(monkeypatch, world):
    groups = np.arange(40) // 5
    whole, parts = _batches(groups=groups).at(7), []
    monkeypatch.setattr(distributed, "world_size", lambda: world)
    for rank in range(world):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(_batches(groups=groups).at(7))
    assert [name for part in parts for name in part.partner_ids] == whole.partner_ids
    assert torch.equal(torch.cat([part.partners for part in parts]), whole.partners)


def test_partners_go_to_the_device_too():
    batch = Batches([(FakePack(), np.arange(40))], 8, 3, "meta", groups=np.zeros(40, np.int64)).at(0)
    assert batch.images.device.type == batch.partners.device.type == "meta"


def test_partners_change_nothing_else_and_differ_from_step_to_step():
    plain, paired = _batches(), _batches(groups=np.zeros(40, np.int64))
    assert plain.at(3).ids == paired.at(3).ids
    met = {(step, paired.partners(step).tobytes()) for step in range(20)}
    assert len({drawn for _, drawn in met}) == 20


def test_one_pack_on_a_cpu_is_left_to_the_file_cache():
    assert not _batches().load_whole()


def test_what_does_not_fit_is_not_loaded_whole(monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda device: 1000)
    assert not _batches(size=4).load_whole()


def test_sixteen_bits_keep_their_steps():
    pack = FakePack(dtype=np.uint16)
    batch = _batches(pack).at(0)
    np.testing.assert_allclose(batch.images[:, 0].numpy(), pack.images(batch.rows) / 65535, rtol=1e-6)


def test_impossible_batches_are_refused(monkeypatch):
    with pytest.raises(UsageError, match="7 images") as error:
        _batches(FakePack(7))
    assert "--batch-size 7" in error.value.fix
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(UsageError, match="3 processes"):
        _batches()


def test_the_fingerprint_knows_images_and_seed():
    base = _batches().fingerprint()
    assert base == _batches().fingerprint()
    assert base != _batches(rows=np.arange(39)).fingerprint()
    assert base != _batches(FakePack(seed=5)).fingerprint()
    assert base != _batches(weights=np.arange(40)).fingerprint()
    paired = _batches(groups=np.arange(40) // 2).fingerprint()
    assert base != paired != _batches(groups=np.arange(40) // 4).fingerprint()


def test_streams_of_random_numbers_are_unrelated():
    seeds = {derive(s, stream, step) for s in range(3) for stream in range(3) for step in range(100)}
    assert len(seeds) == 900
    assert torch.equal(torch.rand(3, generator=generator(1, 2)), torch.rand(3, generator=generator(1, 2)))


def test_common_size_is_the_smallest_and_said(capsys):
    packs = [FakePack(2, 8), FakePack(2, 16)]
    assert common_size(packs, None) == 8
    assert "--size = 8" in capsys.readouterr().out
    assert common_size(packs, 16) == 16
    assert "enlarged" in capsys.readouterr().err
