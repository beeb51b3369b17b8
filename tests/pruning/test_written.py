"""Pruners written and read back, and text that must not be run."""

import pytest

from mitools import cli
from mitools.pruning import IMP, PRUNERS, SNIP, OneShot
from mitools.pruning.written import pruner_of
from mitools.training import Adam, EarlyStopping, Training


def test_the_command_line_knows_the_named_pruners():
    assert set(cli.pruning.PRUNERS) == {*PRUNERS, "mipp", "mipp-layerwise"}


@pytest.mark.parametrize("pruner", PRUNERS.values(), ids=PRUNERS)
def test_every_named_pruner_reads_back_equal(pruner):
    assert pruner_of(repr(pruner)) == pruner


def test_nested_values_read_back_equal():
    training = Training(epochs=3, optimizer=Adam(lr=0.01), early_stopping=EarlyStopping(patience=2))
    assert pruner_of(repr(IMP(training, rewind_steps=5))) == IMP(training, rewind_steps=5)
    assert pruner_of("OneShot(SNIP(2))") == OneShot(SNIP(batches=2))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OneShot(",
        "SNIP()",
        "3",
        "__import__('os').system('true')",
        "OneShot(score=__import__('os').getcwd())",
        "OneShot(score=open('x', 'w'))",
        "OneShot(**{'score': 1})",
        "[OneShot][0](SNIP())",
        "OneShot(score=SNIP(batches=0))",
        "(" * 500,
        "<Pruner object at 0x7f>",
    ],
)
def test_anything_else_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        pruner_of(text)
    assert not list(tmp_path.iterdir())
