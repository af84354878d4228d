import pytest

from api.ranges import Span, Unsatisfiable, asked_range


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=5-", Span(5, 100)),
        ("bytes=5-9", Span(5, 10)),
        ("bytes=5-500", Span(5, 100)),
        ("bytes=-10", Span(90, 100)),
        ("bytes=-500", Span(0, 100)),
        ("bytes=9-5", None),
        ("bytes=-", None),
        ("bytes=1-2,5-6", None),
        ("items=1-2", None),
        ("bytes=a-b", None),
        ("bytes=" + "9" * 40 + "-", None),
    ],
)
def test_one_range_is_understood_and_the_rest_is_the_whole(header: str | None, span: Span | None) -> None:
    assert asked_range(header, 100) == span


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_behind_the_end_is_told_so(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        asked_range(header, 100)
