"""Chapters 8, 9 and 10, as far as nothing leaves the cabinet: answers, repetitions, refusals."""

from typing import Final
from uuid import uuid4

from firmware_protocol.commands import (
    CollectLogs,
    EjectPowerBank,
    GetConfig,
    LockSlot,
    QueryInventory,
    SetConfig,
    SetVolume,
    UnlockSlot,
    UpdateFirmware,
)
from firmware_protocol.encoding import Encoding
from firmware_protocol.messages import (
    Booted,
    CommandResult,
    ConfigReport,
    Inventory,
    LogChunk,
    PowerBankEjected,
    SlotInventory,
    SlotLocked,
    SlotUnlocked,
)
from firmware_protocol.types import CommandOutcome, SlotState
from simulators.conformance.bench import Bench
from simulators.conformance.checks import Check
from simulators.conformance.verdicts import BrokenRequirement, NotRunHere, UnsupportedByCabinet

_NO_SUCH_SLOT: Final = 512
_NO_SUCH_BANK: Final = "CONFORMANCE-NO-SUCH-BANK"
_KEY: Final = "x_conformance"


def _expect(result: CommandResult, outcome: CommandOutcome, code: str | None = None) -> None:
    if result.outcome is CommandOutcome.UNSUPPORTED is not outcome:
        raise UnsupportedByCabinet("it is answered unsupported")
    if result.outcome is not outcome or (code is not None and result.code != code):
        wanted = f"{outcome}{f', code {code}' if code else ''}"
        raise BrokenRequirement(f"expected {wanted}; got {result.outcome}, code {result.code}")


def whole_inventory(bench: Bench) -> None:
    since = bench.mark
    command_id = bench.order(QueryInventory())
    told, result = bench.result(command_id)
    _expect(result, CommandOutcome.SUCCEEDED)
    own = [(frame, message) for frame, message in bench.frames(Inventory, since) if message.command_id == command_id]
    if len(own) != 1 or not own[0][1].complete:
        raise BrokenRequirement(f"expected one complete inventory with the command's id, got {len(own)}")
    if own[0][0].seq > told.seq:
        raise BrokenRequirement("the result came before the inventory")
    slots = [entry.slot for entry in own[0][1].slots]
    if sorted(slots) != list(range(1, len(slots) + 1)):
        raise BrokenRequirement(f"expected every slot from 1 on, got {slots}")


def repeated(bench: Bench) -> None:
    command_id = bench.order(QueryInventory())
    first, result = bench.result(command_id)
    bench.order(QueryInventory(), command_id=command_id)
    second, again = bench.result(command_id, number=2)
    if again != result:
        raise BrokenRequirement(f"the second answer differs: {result} / {again}")
    if (second.boot, second.seq) <= (first.boot, first.seq):
        raise BrokenRequirement("the answer to a repetition is a new event, with a new seq")
    if len({f.seq for f, message in bench.frames(Inventory) if message.command_id == command_id}) != 1:
        raise BrokenRequirement("the repeated command was carried out again")


def too_late(bench: Bench) -> None:
    since = bench.mark
    command_id = bench.order(QueryInventory(), deadline_s=-60)
    _, result = bench.result(command_id)
    _expect(result, CommandOutcome.EXPIRED, "deadline_passed")
    if any(message.command_id == command_id for _, message in bench.frames(Inventory, since)):
        raise BrokenRequirement("a command whose deadline had passed was carried out")


def unknown_type(bench: Bench) -> None:
    _, result = bench.result(bench.order_raw("x_conformance_unknown", {}))
    if result.outcome is not CommandOutcome.UNSUPPORTED:
        raise BrokenRequirement(f"expected unsupported, got {result.outcome}")


def unreadable(bench: Bench) -> None:
    since = bench.mark
    for payload in (b"{", b"\xff\x00", b"", b'{"v":1,"type":"query_inventory","data":[]}'):
        bench.say_bytes(payload, None)
    bench.inventory()
    if any(isinstance(each.frame.message, Booted) for each in bench.heard(since) if each.frame is not None):
        raise BrokenRequirement("the cabinet restarted or connected anew")


def unknown_keys(bench: Bench) -> None:
    command_id = bench.order_raw("query_inventory", {"x_new": {"a": [1, 2]}}, x_envelope=True)
    _, result = bench.result(command_id)
    _expect(result, CommandOutcome.SUCCEEDED)


def reports_configuration(bench: Bench) -> None:
    since = bench.mark
    told, result = bench.carry_out(GetConfig())
    _expect(result, CommandOutcome.SUCCEEDED)
    reports = [frame for frame, _ in bench.frames(ConfigReport, since)]
    if not reports or reports[0].seq > told.seq:
        raise BrokenRequirement("expected a config_report, then the result")


def takes_configuration(bench: Bench) -> None:
    bench.need_alone()
    reports_configuration(bench)
    version = bench.frames(ConfigReport)[-1][1].version
    _expect(bench.carry_out(SetConfig(version=version + 2, values={_KEY: "1"}))[1], CommandOutcome.SUCCEEDED)
    report = bench.frames(ConfigReport)[-1][1]
    if report.version != version + 2 or report.values.get(_KEY) != "1":
        raise BrokenRequirement(f"expected version {version + 2} with {_KEY}, reported: {report.version}")
    older = bench.carry_out(SetConfig(version=version + 1, values={_KEY: "2"}))[1]
    _expect(older, CommandOutcome.INVALID, "old_version")
    _expect(bench.carry_out(SetConfig(version=version + 3, values={_KEY: None}))[1], CommandOutcome.SUCCEEDED)
    if bench.frames(ConfigReport)[-1][1].values.get(_KEY) is not None:
        raise BrokenRequirement(f"{_KEY} was given back and is still reported")


def _a_slot(bench: Bench, *states: SlotState) -> SlotInventory:
    slots = [entry for entry in bench.inventory().slots if not entry.locked]
    found = [entry for state in states for entry in slots if entry.state is state]
    if not found:
        raise NotRunHere(f"it takes an unlocked slot that is {' or '.join(states)}")
    return found[0]


def locks(bench: Bench) -> None:
    slot = _a_slot(bench, SlotState.EMPTY, SlotState.OCCUPIED).slot
    since = bench.mark
    told, result = bench.carry_out(LockSlot(slot=slot))
    _expect(result, CommandOutcome.SUCCEEDED)
    try:
        if not any(m.slot == slot and f.seq < told.seq for f, m in bench.frames(SlotLocked, since)):
            raise BrokenRequirement("expected slot_locked, then the result")
        _refuses(bench, EjectPowerBank(slot=slot), CommandOutcome.FAILED, "slot_locked")
    finally:
        since = bench.mark
        told, result = bench.carry_out(UnlockSlot(slot=slot))
    _expect(result, CommandOutcome.SUCCEEDED)
    if not any(m.slot == slot and f.seq < told.seq for f, m in bench.frames(SlotUnlocked, since)):
        raise BrokenRequirement("expected slot_unlocked, then the result")


def _refuses(bench: Bench, eject: EjectPowerBank, outcome: CommandOutcome, code: str) -> None:
    since = bench.mark
    _expect(bench.carry_out(eject)[1], outcome, code)
    if bench.frames(PowerBankEjected, since):
        raise BrokenRequirement("a bank left although the eject was refused")


def no_such_slot(bench: Bench) -> None:
    if len(bench.inventory().slots) >= _NO_SUCH_SLOT:
        raise NotRunHere("it has every slot that can be named")
    _refuses(bench, EjectPowerBank(slot=_NO_SUCH_SLOT), CommandOutcome.INVALID, "no_such_slot")


def no_such_bank(bench: Bench) -> None:
    _refuses(bench, EjectPowerBank(serial=_NO_SUCH_BANK), CommandOutcome.FAILED, "bank_not_here")


def empty_slot(bench: Bench) -> None:
    slot = _a_slot(bench, SlotState.EMPTY).slot
    _refuses(bench, EjectPowerBank(slot=slot), CommandOutcome.FAILED, "slot_empty")


def another_bank(bench: Bench) -> None:
    slot = _a_slot(bench, SlotState.OCCUPIED).slot
    _refuses(bench, EjectPowerBank(slot=slot, serial=_NO_SUCH_BANK), CommandOutcome.FAILED, "serial_mismatch")


def expired_eject(bench: Bench) -> None:
    slot = _a_slot(bench, SlotState.OCCUPIED).slot
    since = bench.mark
    _, result = bench.result(bench.order(EjectPowerBank(slot=slot), deadline_s=-60))
    _expect(result, CommandOutcome.EXPIRED, "deadline_passed")
    if bench.frames(PowerBankEjected, since):
        raise BrokenRequirement("a bank left after its eject's deadline")


def logs(bench: Bench) -> None:
    bench.need_alone()  # pieces that the other backend did not ask for are dead letters there
    request_id = f"conformance-{uuid4()}"
    _expect(bench.carry_out(CollectLogs(request_id=request_id, max_bytes=60_000))[1], CommandOutcome.SUCCEEDED)
    pieces = {m.index: m for _, m in bench.frames(LogChunk) if m.request_id == request_id}
    if not pieces:
        raise NotRunHere("no log_chunk came: a cabinet with a credential may bring its log over HTTP (20)")
    if sorted(pieces) != list(range(len(pieces))) or [n for n in sorted(pieces) if pieces[n].last] != [len(pieces) - 1]:
        raise BrokenRequirement(f"expected pieces from 0 on, the last one marked; got {sorted(pieces)}")
    since = bench.mark
    again = bench.carry_out(CollectLogs(request_id=request_id, indexes=(0,)))[1]
    if again.code == "log_gone":
        return
    _expect(again, CommandOutcome.SUCCEEDED)
    told = [m.content for _, m in bench.frames(LogChunk, since) if m.request_id == request_id]
    if told != [pieces[0].content]:
        raise BrokenRequirement("a piece that was asked for again was not the same, byte for byte")


def volume(bench: Bench) -> None:
    _expect(bench.carry_out(SetVolume(volume_pct=30))[1], CommandOutcome.SUCCEEDED)


def unsigned_firmware(bench: Bench) -> None:
    since = bench.mark
    result = bench.carry_out(UpdateFirmware(manifest=b"{}", url="http://127.0.0.1:9/none"))[1]
    if result.outcome is CommandOutcome.UNSUPPORTED:
        raise UnsupportedByCabinet("update_firmware is answered unsupported")
    if result.outcome is CommandOutcome.SUCCEEDED:
        raise BrokenRequirement("a release without a signature was taken")
    if any(isinstance(each.frame.message, Booted) for each in bench.heard(since) if each.frame is not None):
        raise BrokenRequirement("the cabinet restarted over a release that it refused")


def cbor_is_not_needed(bench: Bench) -> None:
    """4.3: JSON is what every cabinet reads, with and without saying so."""
    for content_type in (Encoding.JSON.content_type, None):
        tree = f'{{"v":1,"id":"{uuid4()}","deadline":99999999999999,"attempt":1,"type":"get_config","data":{{}}}}'
        command_id = tree.split('"')[5]
        bench.sent[command_id] = 1
        bench.say_bytes(tree.encode(), content_type)
        bench.result(command_id)


ORDERS: Final = (
    Check("10.2", "query_inventory: every slot, then the result", whole_inventory),
    Check("8.2.1", "A repeated id is answered again and not carried out again", repeated),
    Check("8.3", "After its deadline a command is answered expired", too_late),
    Check("8.3", "After its deadline an eject moves nothing", expired_eject),
    Check("8.7", "An unknown type is answered unsupported", unknown_type),
    Check("8.7", "What cannot be read is ignored", unreadable),
    Check("4.6", "Unknown keys are ignored", unknown_keys),
    Check("4.3", "JSON is read, with a content type and without", cbor_is_not_needed),
    Check("9.1", "eject of a slot that it does not have: no_such_slot", no_such_slot),
    Check("9.1", "eject of a bank that it does not have: bank_not_here", no_such_bank),
    Check("9.1", "eject of an empty slot: slot_empty", empty_slot),
    Check("9.1", "eject of another bank than the slot holds: serial_mismatch", another_bank),
    Check("10.1", "lock_slot and unlock_slot; a locked slot gives no bank", locks),
    Check("10.3", "get_config: the report, then the result", reports_configuration),
    Check("10.3", "set_config: keys, versions, giving back", takes_configuration),
    Check("10.5", "collect_logs: pieces, and one of them again", logs),
    Check("10.6.1", "An unsigned release is refused", unsigned_firmware),
    Check("10.9", "set_volume is answered", volume),
)
