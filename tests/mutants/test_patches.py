"""The patches of `make mutants` fit the tree as it is; whether tests catch them is seen by running it."""

from pathlib import Path

import pytest

from tests.mutants.run import ROOT, Mutant, apply, mutants

EVERY = mutants()


@pytest.mark.parametrize("mutant", EVERY, ids=[mutant.name for mutant in EVERY])
def test_it_fits_and_names_tests_that_exist(mutant: Mutant) -> None:
    assert apply(mutant, ROOT, "--check"), f"{mutant.path.name} no longer applies"
    for name in mutant.tests.split():
        path, _, test = name.partition("::")
        assert f"def {test.partition('[')[0]}(" in (ROOT / path).read_text() if test else (ROOT / path).exists(), name


def test_there_are_enough() -> None:
    assert len(EVERY) >= 20


def test_one_that_does_not_fit_is_told(tmp_path: Path) -> None:
    odd = tmp_path / "odd.patch"
    odd.write_text(EVERY[0].path.read_text().replace(" a/", " a/nowhere/").replace(" b/", " b/nowhere/"))
    assert not apply(Mutant.read(odd), ROOT, "--check")
