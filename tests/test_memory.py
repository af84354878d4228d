import os
from pathlib import Path

from cli.embedded.home import Home
from tests.memory import remove_forsaken, service_home

_LONG_AGO = 1_700_000_000


def _made_long_ago(folder: Path) -> Path:
    folder.mkdir()
    os.utime(folder, (_LONG_AGO, _LONG_AGO))
    return folder


def test_a_home_is_locked_and_gone_afterwards(tmp_path: Path) -> None:
    with service_home(tmp_path) as home:
        (home.root / "postgres").mkdir()
        os.utime(home.root, (_LONG_AGO, _LONG_AGO))
        remove_forsaken(home.root.parent)
        assert (home.root / "postgres").exists()
    assert not home.root.exists()


def test_where_there_is_no_memory_a_home_lies_where_others_do(tmp_path: Path) -> None:
    with service_home(tmp_path / "none") as home:
        assert not home.root.is_relative_to(tmp_path)
        home.create()
    assert not home.root.exists()


def test_what_the_killed_have_left_is_removed(tmp_path: Path) -> None:
    killed = _made_long_ago(tmp_path / "voltbay-test-killed")
    (killed / "postgres").mkdir()
    os.utime(killed, (_LONG_AGO, _LONG_AGO))
    held = Home(_made_long_ago(tmp_path / "voltbay-test-held"))
    held.lock()
    os.utime(held.root, (_LONG_AGO, _LONG_AGO))
    beginning = tmp_path / "voltbay-test-beginning"
    beginning.mkdir()
    another = _made_long_ago(tmp_path / "another")
    remove_forsaken(tmp_path)
    held.unlock()
    assert sorted(tmp_path.iterdir()) == sorted([held.root, beginning, another])
