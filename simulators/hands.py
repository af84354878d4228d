"""Banks that are in riders' hands: out of every cabinet, and welcome back in any."""

from collections.abc import Iterator

from simulators.battery import PowerBank
from simulators.errors import BankNotOut


class Hands:
    """Shared by all cabinets of a fleet."""

    def __init__(self) -> None:
        self._banks: dict[str, PowerBank] = {}
        #: Serials whose whereabouts changed since the state was last written.
        self.changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._banks)

    def __iter__(self) -> Iterator[PowerBank]:
        return iter(self._banks.values())

    def __contains__(self, serial: str) -> bool:
        return serial in self._banks

    def get(self, serial: str) -> PowerBank | None:
        return self._banks.get(serial)

    def take(self, bank: PowerBank) -> None:
        """A bank left a cabinet. One without a readable serial is nobody's and is forgotten."""
        if bank.serial is not None:
            self._banks[bank.serial] = bank
            self.changed.add(bank.serial)

    def give_back(self, serial: str, now_ms: int) -> PowerBank:
        """The rider lets go of it, emptied by use. Raises BankNotOut."""
        bank = self._banks.pop(serial, None)
        if bank is None:
            raise BankNotOut(f"{serial} is not in a rider's hand")
        self.changed.add(serial)
        bank.use_until(now_ms)
        return bank
