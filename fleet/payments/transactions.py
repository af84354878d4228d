"""How use cases that call a provider get their transactions: before the call, and after it."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy.orm import Session

#: Opens a transaction that is committed when the block ends; edges pass `lambda: session_scope(engine)`.
Transactions = Callable[[], AbstractContextManager[Session]]
