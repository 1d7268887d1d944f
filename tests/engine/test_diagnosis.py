"""The likely cause of a collapse: the setting that is far from the usual one, else the method's own remedy."""

from dataclasses import replace

import pytest

from kontrast.config import flag, to_dict
from kontrast.engine.choices import OPTIONS, choose_optimizer, settle_options
from kontrast.engine.diagnosis import likely_cause
from kontrast.engine.planning import Plan
from kontrast.methods import METHODS
from kontrast.stages.pretrain import PretrainConfig

IMAGES, BATCH, STEPS, SIZE = 4000, 128, 2000, 64

every = pytest.mark.parametrize("name", list(METHODS))


def plan(name, **options):
    """The plan of a run in which all but these options were left open."""
    kind = METHODS[name]
    config = replace(kind.Config(), **options)
    settled = settle_options(name, config, images=IMAGES, steps=STEPS, batch_size=BATCH, size=SIZE, quiet=True)
    optimizer, lr, decay = choose_optimizer(name, "auto", "auto", "auto", BATCH)
    return Plan(
        method=name, options=to_dict(settled), encoder="resnet18", size=SIZE, recipe="xray", batch_size=BATCH,
        steps=STEPS, epochs=64, optimizer=optimizer, lr=lr, weight_decay=decay, warmup=100, clip=None,
        precision="fp32", seed=0,
    )  # fmt: skip


@every
def test_where_all_is_usual_the_method_says_what_to_try(name, capsys):
    usual = plan(name)
    capsys.readouterr()
    said = likely_cause(usual, IMAGES)
    assert "usual ones" in said and METHODS[name].remedy in said and "now --lr" in said
    assert capsys.readouterr().out == "", "finding a cause is no decision to be said"


@every
def test_a_remedy_names_options_that_there_are(name):
    words = METHODS[name].remedy.replace(",", " ").split()
    named = {word for word in words if word.startswith("--")}
    fields = {flag(field) for field in PretrainConfig.__dataclass_fields__}
    own = {f"--options.{field}" for field in METHODS[name].Config.__dataclass_fields__}
    has = {flag(field) for field in OPTIONS if field in METHODS[name].Config.__dataclass_fields__}
    assert "--lr" in named and named <= (fields - {flag(field) for field in OPTIONS}) | own | has


@every
@pytest.mark.parametrize("times", [50, 0.02])
def test_a_learning_rate_far_from_the_usual_is_named_first(name, times):
    usual = plan(name)
    said = likely_cause(replace(usual, lr=usual.lr * times), IMAGES)
    assert f"Likely cause: --lr {usual.lr * times:g} where {usual.lr:.3g} is usual" in said


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("byol", {"momentum": 0.0}, "--momentum 0 where 0.99 is usual"),
        ("moco", {"momentum": 0.5}, "--momentum 0.5 where 0.995 is usual"),
        ("simclr", {"temperature": 20.0}, "--temperature 20 where 0.1 is usual"),
        ("swav", {"epsilon": 10.0}, "--options.epsilon 10 where 0.05 is usual"),
        ("swav", {"prototypes": 3000}, "--prototypes 3000 where 133 is usual"),
        ("moco", {"queue_length": 4}, "--queue-length 4 where 896 is usual"),
        ("vicreg", {"variance_weight": 0.0}, "--options.variance_weight 0 where 25 is usual"),
        ("dino", {"teacher_temperature": 1.0}, "--options.teacher_temperature 1 where"),
    ],
    ids=lambda value: value if isinstance(value, str) and "-" not in value else "",
)
def test_an_option_far_from_the_usual_is_named(name, options, words):
    assert words in likely_cause(plan(name, **options), IMAGES)


def test_widths_are_no_cause_and_the_farthest_comes_first():
    assert "usual ones" in likely_cause(plan("byol", hidden_dim=64), IMAGES)
    far = replace(plan("byol", momentum=0.9), lr=5.0)
    assert likely_cause(far, IMAGES).index("--lr") < likely_cause(far, IMAGES).index("--momentum")
