"""The database in which Optuna keeps the trials of a sweep that several machines share."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import BadInput, Failure, nearest_match

if TYPE_CHECKING:
    import sqlite3

    from optuna.storages import BaseStorage
    from sqlalchemy.engine import Connection, Engine

T = TypeVar("T")

__all__ = [
    "GRACE",
    "HEARTBEAT",
    "cause",
    "data_base",
    "insisting",
    "located",
    "masked",
    "quiet",
]

HEARTBEAT, GRACE = 20, 120
"""Seconds between two heartbeats of a trial, and seconds without one after which another process runs the trial again."""
_TIMEOUT = 10
"""Seconds to wait for a database."""
_SHOWN = ("host", "port", "sslmode", "sslrootcert")
"""Options of a URL that hold no secrets."""


def data_base(url: str, *, make: bool) -> BaseStorage:
    """Optuna's storage in a database; missing tables are made.

    Raises:
        BadInput: if the URL is malformed, or its driver is not installed.
        Failure: if the database cannot be reached.
    """
    from optuna.storages import RDBStorage, get_storage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    expected = "postgresql://USER@HOST/DATABASE, or sqlite:///FILE for processes of one machine"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise BadInput("that is not the URL of a database", where="storage", expected=expected) from None
    if parsed.drivername == "postgresql":
        # which driver it stands for differs with SQLAlchemy's version
        parsed = parsed.set(drivername="postgresql+psycopg")
    kind = parsed.drivername.partition("+")[0]
    if kind == "sqlite" and parsed.database and not make and not Path(parsed.database).is_file():
        raise BadInput(f"there is no file '{parsed.database}'", where=masked(url), expected=expected)
    timeout = {"postgresql": "connect_timeout", "mysql": "connect_timeout", "sqlite": "timeout"}.get(kind)
    options: dict[str, Any] = {"pool_pre_ping": True, "hide_parameters": True}
    if kind == "sqlite":
        # opening a file is cheap, and nobody tells when the last connection can be closed
        options["poolclass"] = NullPool
    if timeout:
        options["connect_args"] = {timeout: _TIMEOUT * (6 if kind == "sqlite" else 1)}
    try:
        with quiet():
            made = insisting(
                lambda: RDBStorage(
                    parsed.render_as_string(hide_password=False),
                    engine_kwargs=options,
                    heartbeat_interval=HEARTBEAT,
                    grace_period=GRACE,
                )
            )
    except ImportError:
        what = "psycopg" if kind == "postgresql" else f"the driver of '{parsed.drivername}'"
        install = "pip install 'idemlab[postgres]'" if kind == "postgresql" else f"pip install it, or: {expected}"
        raise BadInput(f"{what} is not installed", where=masked(url), next_step=install) from None
    except ArgumentError:
        raise BadInput(
            f"there is no database of the kind '{parsed.drivername}'",
            where=masked(url),
            expected=expected,
            nearest=nearest_match(parsed.drivername, ["postgresql", "sqlite", "mysql"]),
        ) from None
    except (SQLAlchemyError, RuntimeError) as error:
        raise Failure(
            f"the storage cannot be reached: {cause(error)}",
            where=masked(url),
            next_step="check that the database runs, and that URL, user and password are right",
        ) from None
    if kind == "sqlite" and make:  # a reader may lack the permission to write
        _one_at_a_time(made.engine)
    return get_storage(made)


def _one_at_a_time(engine: Engine) -> None:
    """Let SQLite hold its lock through a whole transaction, as SQLAlchemy's "Serializable isolation" recipe does.

    Optuna reads that a trial waits and then writes that it runs, under SELECT ... FOR UPDATE. SQLite lacks that statement,
    so two processes could take the same trial.
    """
    from sqlalchemy import event

    def connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # the driver begins no transaction of its own

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    engine.dispose()  # drop connections that were made before


def located(url: str) -> str:
    """The URL of a database, valid in every working directory: the file of SQLite gets its absolute path.

    Raises:
        BadInput: for a SQLite database in memory, which would be lost.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return url  # opening it reports the error
    if parsed.get_backend_name() != "sqlite" or (parsed.database or "").startswith("file:"):
        return url
    if parsed.database in (None, "", ":memory:"):
        raise BadInput("a database in memory is lost at the end", where="storage", expected="sqlite:///FILE")
    return parsed.set(database=str(Path(parsed.database).resolve())).render_as_string(hide_password=False)


def insisting(call: Callable[[], T]) -> T:
    """Call a function again if it failed because another process was making the same tables or rows."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    for pause in (0.2, 0.5, 1.0, 2.0):
        try:
            return call()
        except (SQLAlchemyError, StorageInternalError) as error:
            if not any(
                word in str(error) for word in ("already exists", "duplicate key", "UNIQUE constraint", "the commit")
            ):
                raise
            time.sleep(pause)
    return call()


def masked(url: str) -> str:
    """The URL of a database without its secrets: the password, and every option not known to be harmless."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "storage"
    kept = {key: value for key, value in parsed.query.items() if key in _SHOWN}
    return parsed.set(query=kept)._replace(password=None).render_as_string()


def cause(error: BaseException) -> str:
    """The first line of the database's own message. Messages of SQLAlchemy are left out: they may hold a password."""
    from sqlalchemy.exc import DBAPIError

    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's warning that heartbeats are experimental."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
