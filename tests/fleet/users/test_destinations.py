import pytest

from fleet.common.errors import InvalidInput
from fleet.users.destinations import Destination, parse


@pytest.mark.parametrize(
    ("raw", "region", "value", "home"),
    [
        ("+49 151 2345 6789", None, "+4915123456789", "DE"),
        ("0049 (151) 23456789", "FR", "+4915123456789", "DE"),
        ("0151 23456789", "DE", "+4915123456789", "DE"),
        ("+1 415-555-2671", None, "+14155552671", "US"),
        (" +86 138 0013 8000 ", None, "+8613800138000", "CN"),
    ],
)
def test_phones_have_one_spelling(raw: str, region: str | None, value: str, home: str) -> None:
    assert parse(raw, region) == Destination(value, is_phone=True, region=home)


@pytest.mark.parametrize(
    ("raw", "value"),
    [("Rider@Example.COM", "rider@example.com"), (" a.b+c@mail.example.co.uk ", "a.b+c@mail.example.co.uk")],
)
def test_mailboxes_have_one_spelling(raw: str, value: str) -> None:
    assert parse(raw) == Destination(value, is_phone=False)


@pytest.mark.parametrize(
    "raw",
    [
        "", " ", "x", "0151 23456789", "+49", "+4915", "+999123456789", "+49 900 1234567", "a@b", "@example.com",
        "a b@example.com", "a@@example.com", "a@example..com", "a@-example.com", "a\n@example.com",
        "a@example.com\r\nBcc: b@example.com", "a" * 65 + "@example.com", "a@" + "b" * 250 + ".com", "a@exämple.com",
        "<a@example.com>x@", "+49151234567890123456789",
    ],
)  # fmt: skip
def test_anything_else_is_refused(raw: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(raw)
    assert caught.value.attributes["field"] == "destination"
