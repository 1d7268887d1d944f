import pytest

import kontrast
from helpers import make_pack
from kontrast.errors import ArtifactError, UsageError


def test_a_whole_pack_passes(tmp_path, capsys):
    outcome = kontrast.pack("verify", make_pack(tmp_path / "p", masks=True))
    assert outcome.summary == {"files": 8, "rows": 64, "damaged": []}
    assert "is whole" in capsys.readouterr().out


def test_damage_names_the_file_and_its_images(tmp_path, capsys):
    path = make_pack(tmp_path / "p", masks=True)
    data = bytearray((path / "images-00001.npy").read_bytes())
    data[400] ^= 1
    (path / "images-00001.npy").write_bytes(data)
    (path / "masks-disc-00001.npy").unlink()
    with pytest.raises(ArtifactError, match=r"2 of the files .* at most 24 images"):
        kontrast.pack("verify", path)
    said = capsys.readouterr().out
    assert "images-00001.npy is damaged" in said and "images 40 to 63" in said
    assert "masks-disc-00001.npy is missing" in said


@pytest.mark.parametrize("action", ["merge", "subset", "export"])
def test_what_one_might_expect_says_how_it_is_done(tmp_path, action):
    with pytest.raises(UsageError, match=f"no `kontrast pack {action}`") as error:
        kontrast.pack(action, tmp_path)
    assert "prepare another Pack" in error.value.fix


def test_a_wrong_word_names_its_neighbour(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'verify'") as error:
        kontrast.pack("verfy", tmp_path)
    assert "merge" not in str(error.value)


def test_what_is_no_pack(tmp_path):
    with pytest.raises(ArtifactError, match="Expected a pack"):
        kontrast.pack("verify", tmp_path / "none")
