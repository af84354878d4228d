"""What no text of ours can hold."""

import re
from typing import Final

#: PostgreSQL's text holds no U+0000, UTF-8 no half of a surrogate pair.
_UNKEEPABLE: Final = re.compile("[\0\ud800-\udfff]")
NO_TEXT: Final = "text holds neither U+0000 nor half a surrogate pair"


def unkeepable(text: str) -> bool:
    """Whether there is something in it that can be neither stored nor sent."""
    return _UNKEEPABLE.search(text) is not None
