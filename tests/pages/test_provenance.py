"""What was made from what, and nothing about where it lies."""

import pytest

from kontrast.pages import provenance, sections
from pages.conftest import add_encoder, found


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/mary/data/x.csv", "…/x.csv"),
        ("/home/mary/my data/x y.csv", "…/x y.csv"),
        (r"C:\Users\mary\x.csv", "…/x.csv"),
        (r"\\server\share\x.csv", "…/x.csv"),
        ("~/x/y", "…/y"),
        ("weights of /srv/a/b.pth, 3", "weights of …/b.pth, 3"),
        ("runs/nih/pack", "runs/nih/pack"),
        ("$DATA/chexpert", "$DATA/chexpert"),
        ("bacteria/*", "bacteria/*"),
        ("1/2", "1/2"),
        ("zeros,Edema=ignore", "zeros,Edema=ignore"),
        (3, 3),
        (None, None),
        ({"/a/b": ["/c/d", {"e": "/f/g"}]}, {"…/b": ["…/d", {"e": "…/g"}]}),
    ],
)
def test_folders_are_left_out(value, shown):
    assert provenance.without_folders(value) == shown


def test_provenance_names_parents_that_are_on_the_page(pack, tmp_path):
    encoder = found(add_encoder(tmp_path / "moco", pack))
    sha = encoder.card.parents[0].sha256
    rows = provenance.provenance([sections.Found("chest", pack, found(pack).card, sha), encoder])
    assert rows[1]["parents"] == [{"name": "pack chest", "sha": sha[:12]}]
    assert rows[1]["config"] == '{\n "init": "…/before"\n}'
    assert provenance.provenance([encoder])[0]["parents"] == [{"name": "pack", "sha": sha[:12]}]
