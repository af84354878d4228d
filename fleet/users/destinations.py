"""Where a person can be reached: a phone (E.164) or an e-mail address, in one spelling each."""

import re
from dataclasses import dataclass

import phonenumbers
from phonenumbers import PhoneNumberType

from fleet.common.errors import InvalidInput

#: Enough to catch slips; whether it exists is proven by the code that is sent there.
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\.[a-z]{2,63}", re.ASCII)
_EMAIL_MAX = 254
#: Numbers that cost the caller or the house extra: codes are never sent there.
_REFUSED = (PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST, PhoneNumberType.UAN, PhoneNumberType.VOICEMAIL)


@dataclass(frozen=True, slots=True)
class Destination:
    """`value` is what is stored and compared; `region` is the phone's ISO 3166 country, if it has one."""

    value: str
    is_phone: bool
    region: str | None = None


def is_email(destination: str) -> bool:
    """Of a destination as it is stored: an e-mail address, or a phone number."""
    return "@" in destination


def parse(raw: str, region: str | None = None) -> Destination:
    """Read what a person typed; national phone numbers need the `region` they are dialled in (ISO 3166).

    Raises InvalidInput (field `destination`).
    """
    text = raw.strip()
    if "@" in text:
        return _email(text.lower())
    return _phone(text, region)


def _email(text: str) -> Destination:
    if len(text) > _EMAIL_MAX or ".." in text or _EMAIL.fullmatch(text) is None:
        raise InvalidInput("this is not an e-mail address", field="destination")
    return Destination(text, is_phone=False)


def _phone(text: str, region: str | None) -> Destination:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        raise InvalidInput(
            "this is not a phone number; write it with its country code, like +49 151 23456789", field="destination"
        ) from error
    if not phonenumbers.is_valid_number(number) or phonenumbers.number_type(number) in _REFUSED:
        raise InvalidInput("this phone number cannot receive a code", field="destination")
    return Destination(
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164),
        is_phone=True,
        region=phonenumbers.region_code_for_number(number),
    )
