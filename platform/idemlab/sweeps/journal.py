"""The journal in a sweep's folder: reads and mends a damaged one, and reports each damaged line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from ..system.files import write_text
from .privates import CREATE_STUDY, CREATE_TRIAL, SET_TRIAL_ATTRIBUTE

__all__ = ["JOURNAL", "STUDY", "Journal", "mend", "read", "reading", "writing"]

JOURNAL = "journal.log"
"""The file in a sweep's folder that keeps its trials, unless a database keeps them."""
STUDY = "sweep"
"""What Optuna calls the only sweep of a journal."""

Log = dict[str, Any]


class _Lines(BaseJournalBackend):
    """Operations in memory, so that reading a sweep writes nothing and waits for no lock."""

    def __init__(self, logs: list[Log]) -> None:
        self.logs = logs

    def read_logs(self, log_number_from: int) -> Iterator[Log]:
        yield from self.logs[log_number_from:]

    def append_logs(self, logs: list[Log]) -> None:
        raise AssertionError("this journal is open for reading only")


class _Lock:
    """A lock of the operating system, which ends with the process that holds it.

    Optuna's own lock is a link to the journal. The link outlives a killed owner, and with a relative path it points into
    the wrong folder: the next process would wait for ever.
    """

    def __init__(self, file: Path) -> None:
        self._lock = FileLock(file.with_name(f".lock-{file.name}").absolute())

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


@dataclass(frozen=True)
class Journal:
    """The readable part of a journal.

    Args:
        logs: the readable operations in order, with stand-ins for unreadable trials.
        damage: what is wrong, a sentence for each damaged line.
    """

    logs: list[Log]
    damage: tuple[str, ...]


def reading(journal: Journal) -> BaseStorage:
    """Optuna's storage of a journal that is only read."""
    return JournalStorage(_Lines(journal.logs))


def writing(file: Path) -> BaseStorage:
    """Optuna's storage of a journal that this process alone writes to."""
    return JournalStorage(JournalFileBackend(str(file), lock_obj=_Lock(file)))  # type: ignore[arg-type]


def mend(file: Path, *, maximize: bool) -> list[str]:
    """Make a damaged journal usable again: copy the file, then remove what cannot be read.

    Returns:
        Sentences for the user; none if the journal was whole.
    """
    if not file.is_file():
        return []
    journal = read(file, maximize=maximize)
    if not journal.damage:
        return []
    number, copy = 1, file.with_name("journal-damaged.log")
    while copy.exists():
        number += 1
        copy = file.with_name(f"journal-damaged-{number}.log")
    shutil.copyfile(file, copy)
    write_text(file, "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in journal.logs))
    return [*journal.damage, f"the readable trials are kept; the damaged journal was copied to {copy}"]


def read(file: Path, *, maximize: bool = False, growing: bool = False) -> Journal:
    """Read a journal as far as it can be read.

    Args:
        maximize: the direction of the sweep, used if the journal has lost it.
        growing: another process may be about to write the last line.
    """
    if not file.is_file():  # stopped before the first trial was made
        return Journal([], ())
    found: list[tuple[int, Log]] = []
    faults: dict[int, str] = {}
    gaps: list[int] = []  # places in `found` where something is missing
    lines = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        last = number == len(lines)  # the text after the last line break
        if last and (not line or growing):
            continue
        objects, fault = ([None], "cut short") if last else _objects(line)
        for log in objects:
            if log is None:
                gaps.append(len(found))
            else:
                found.append((number, log))
        if not fault and len(objects) > 1:
            fault = "several operations on one line, all of which could be read"
        elif not fault and b"\0" in line:
            fault = "NUL bytes around an operation, which could be read"
        elif not fault and not _is_text(line):  # Optuna would refuse the whole file
            fault = "bytes that are not UTF-8 in an operation, the rest of which could be read"
        if fault:
            faults[number] = fault
    if faults and not any(log["op_code"] == CREATE_STUDY for _, log in found):
        created = {"op_code": CREATE_STUDY, "worker_id": "", "study_name": STUDY, "directions": [2 if maximize else 1]}
        found.insert(0, (0, created))
        gaps = [place + 1 for place in gaps]
    _number_again(found, gaps)
    logs = _applied(found, faults)
    return Journal(logs, tuple(f"{file}, line {number}: {faults[number]}" for number in sorted(faults)))


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _objects(line: bytes) -> tuple[list[Log | None], str]:
    """(operations on a line, None for each missing one; what is wrong, or ""). A whole line has one operation."""
    text = line.decode("utf-8", errors="replace")
    kept = text.strip("\0 \r\t")
    if not kept:
        return [None], "nothing but NUL bytes" if "\0" in text else "empty"
    objects: list[Log | None] = []
    start, fault = 0, ""
    while start < len(kept):
        try:
            value, start = json.JSONDecoder().raw_decode(kept, start)
        except ValueError:  # another operation may follow
            objects, fault = [*objects, None], "cannot be read"
            start = kept.find('{"op_code"', start + 1)
            if start < 0:
                break
            continue
        if isinstance(value, dict) and isinstance(value.get("op_code"), int):
            objects.append(value)
        else:
            objects, fault = [*objects, None], "not an operation"
        start += len(kept[start:]) - len(kept[start:].lstrip("\0 \r\t"))
    return objects, fault


def _number_again(found: list[tuple[int, Log]], gaps: list[int]) -> None:
    """Let unreadable trials keep their numbers. Optuna counts trials, and every later operation names a trial by that count.
    A row also names the values and the seed, which shows how many trials are missing before it."""
    place = 0
    while gaps and place < len(found):
        log = found[place][1]
        row = _row(log)
        if isinstance(row, dict):
            before = [i for i, (_, other) in enumerate(found[:place]) if other["op_code"] == CREATE_TRIAL]
            identity, meant = log.get("trial_id"), _setting(row)
            settings = [_setting(found[i][1].get("user_attrs")) for i in before]
            if not _belongs(identity, row, settings):
                count, at = _missing(before, settings, gaps, meant, identity)
                found[at:at] = [(found[at][0], _stand_in()) for _ in range(count)]
                gaps[:] = [gap + count * (gap >= at) for gap in gaps]
                place += count
        place += 1


def _missing(before: list[int], settings: list[Any], gaps: list[int], meant: Any, identity: Any) -> tuple[int, int]:
    """(number of missing trials, where), such that trial `identity` has the setting `meant`."""
    for number in reversed(range(len(settings))):
        earlier = [gap for gap in gaps if gap <= before[number]]
        if earlier and settings[number] == meant and isinstance(identity, int) and number < identity:
            return identity - number, earlier[-1]
    return 0, 0


def _setting(attributes: Any) -> Any:
    return (attributes.get("values"), attributes.get("seed")) if isinstance(attributes, dict) else None


def _stand_in() -> Log:
    """A placeholder for an unreadable trial: Optuna's FAIL, without attributes."""
    return {
        "op_code": CREATE_TRIAL, "worker_id": "", "study_id": 0, "state": 3, "datetime_start": None, "value": None,
        "values": None, "distributions": {}, "params": {}, "user_attrs": {}, "system_attrs": {}, "intermediate_values": {},
    }  # fmt: skip


def _row(log: Log) -> Any:
    """The result that an operation records, or None where it records none."""
    attributes = log.get("user_attr") if log["op_code"] == SET_TRIAL_ATTRIBUTE else None
    return attributes.get("row") if isinstance(attributes, dict) else None


def _applied(found: list[tuple[int, Log]], faults: dict[int, str]) -> list[Log]:
    """The operations that Optuna can apply, in order; records the others in `faults`."""
    tried = _Lines([])
    storage = JournalStorage(tried)
    kept, settings = [], list[Any]()
    for number, log in found:
        row = _row(log)
        if faults and isinstance(row, dict) and not _belongs(log.get("trial_id"), row, settings):
            faults[number] = "the result of a trial that cannot be read"
            continue
        tried.logs.append(log)
        try:
            storage.get_all_studies()
        except Exception as error:  # Optuna's reader may fail on a key, a type, a state or an operation
            faults[number] = f"an operation that Optuna cannot apply ({type(error).__name__})"
            continue
        kept.append(log)
        if log["op_code"] == CREATE_TRIAL:
            settings.append(_setting(log.get("user_attrs")))
    return kept


def _belongs(identity: Any, row: Log, settings: list[Any]) -> bool:
    return isinstance(identity, int) and 0 <= identity < len(settings) and settings[identity] == _setting(row)
