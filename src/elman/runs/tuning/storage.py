"""Where the trials of a search are kept: in a journal file, or in PostgreSQL for many machines.

A trial is waiting, running or finished, and it changes hands only under the lock of its store.
Whoever holds the lock therefore knows that a running trial without a living worker is lost, and
makes it wait again, with the values that were drawn for it. So none is lost and none counts twice.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from elman import files
from elman.errors import ModelFileError, SettingsError
from elman.untrusted import parse_json

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from sqlalchemy import URL

WORKER = "worker"  # attribute of a trial: who has taken it
BEAT = 5  # seconds between two signs of life of a worker in PostgreSQL
LOST_AFTER = 60.0  # seconds without one after which a worker there counts as dead
JOURNAL = "journal.jsonl"
_POLL = 0.02  # seconds between two attempts to get a lock of a file


class Store(Protocol):
    """A place for trials.

    Attributes:
        optuna: what Optuna reads and writes.
        place: where it is, in words, without a password.
    """

    optuna: BaseStorage
    place: str

    def explained(self) -> AbstractContextManager[None]:
        """Turn an error of the database in the block into one in words."""

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock under which trials change hands; wait for it."""

    def alive(self, worker: str) -> AbstractContextManager[None]:
        """Show during the block that a worker lives."""

    def beat(self, trial: int) -> None:
        """Show that the worker of a trial lives: once, when it takes the trial."""

    def lost(self, study: Study) -> list[FrozenTrial]:
        """Return the running trials whose workers are dead; called under the lock."""


def open_store(folder: Path, url: str, name: str, lost_after: float = LOST_AFTER) -> Store:
    """Open the store of a search; it is made if missing.

    Args:
        folder: the folder of the search, which holds the journal file.
        url: `postgresql://...`, or empty for the journal file.
        name: name of the search in the database.
        lost_after: seconds without a sign of life after which a worker in PostgreSQL is dead.
    Raises: SettingsError if Optuna is missing or the database cannot be used.
    """
    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return Database(url, name, lost_after) if url else Journal(folder)


def import_optuna() -> Any:
    """Return the module. Raises SettingsError if it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise SettingsError(
            f"elman tune needs Optuna, which is not installed ({error}): "
            "pip install 'elman[search]'"
        ) from None
    return optuna


class Journal:
    """Trials in a file of one line per change, which several processes append to.

    Each worker holds a lock of the file system, which ends with it, however it ends. That needs no
    clock: a worker that was stopped for an hour is alive.
    """

    def __init__(self, folder: Path) -> None:
        from optuna.storages import JournalStorage

        self._folder = folder
        self.place = str(folder / JOURNAL)
        self.optuna: BaseStorage = JournalStorage(_backend(folder / JOURNAL))

    def explained(self) -> AbstractContextManager[None]:
        """Do nothing: the errors of files are in words."""
        return nullcontext()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock under which trials change hands; wait for it."""
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(files.lock(self._folder / "claims"))
                    break
                except SettingsError:  # another worker holds it
                    time.sleep(_POLL)
            yield

    def alive(self, worker: str) -> AbstractContextManager[None]:
        """Show during the block that a worker lives."""
        return files.lock(self._folder / worker)

    def beat(self, trial: int) -> None:
        """Do nothing: the lock shows that the worker lives."""

    def lost(self, study: Study) -> list[FrozenTrial]:
        """Return the running trials whose workers are dead; called under the lock."""
        return [trial for trial in _running(study) if self._is_dead(trial.user_attrs.get(WORKER))]

    def _is_dead(self, worker: str | None) -> bool:
        if worker is None:  # a trial and its worker are written under the lock, so it died there
            return True
        try:
            with files.lock(self._folder / worker):
                return True
        except SettingsError:
            return False


def _running(study: Study) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def _backend(path: Path) -> Any:
    """Return Optuna's view of a journal file.

    Optuna's own appends to whatever stands at the end of the file, so that half a line of a killed
    worker makes the journal unreadable for ever, and its lock outlives its owner by 30 seconds.
    """
    from optuna.storages.journal import BaseJournalBackend

    class Backend(BaseJournalBackend):
        def __init__(self) -> None:
            self._read = 0, 0  # lines, and bytes of these lines
            files.append_together(path, [])

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            files.append_together(path, [json.dumps(log, separators=(",", ":")) for log in logs])

        def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
            number, start = self._read if self._read[0] <= log_number_from else (0, 0)
            for line in files.read_together(path, start).splitlines(keepends=True):
                number, start = number + 1, start + len(line)
                if number <= log_number_from:
                    continue
                log = parse_json(line, f"{path}, line {number}")
                if not isinstance(log, dict):
                    raise ModelFileError(f"{path}, line {number}: damaged: no entry of a journal")
                self._read = number, start  # before the caller acts on it, which may fail
                yield log

    return Backend()


class Database:
    """Trials in PostgreSQL. A worker lives as long as its signs of life are recent."""

    def __init__(self, url: str, name: str, lost_after: float) -> None:
        try:
            import psycopg  # noqa: F401
            from optuna.storages import RDBStorage, get_storage
            from sqlalchemy import NullPool, create_engine
        except ImportError as error:
            raise SettingsError(
                f"--storage {hide_password(url)}: needs psycopg and SQLAlchemy, which are not "
                f"installed ({error}): pip install 'elman[search]'"
            ) from None
        self._url = parse_url(url)
        self.place = f"{hide_password(url)}, search {name!r}"
        # A number of 63 bits for the lock of this search; 0 is the lock of the tables.
        digest = hashlib.sha256(name.encode()).digest()
        self._key = 1 + (int.from_bytes(digest[:8], "big") >> 2)
        self._current: int | None = None
        self._beat = max(1, min(BEAT, int(lost_after / 3)))
        options: dict[str, Any] = {
            # A connection for each use: trials take minutes, and a server may be restarted between.
            "poolclass": NullPool,
            "connect_args": {"connect_timeout": 10, "application_name": "elman tune"},
        }
        with self.explained():
            self._engine = create_engine(self._url, **options)
            # Two processes that make the tables at the same time would both fail.
            with self._locked(0), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna calls its heartbeat experimental
                self._storage = RDBStorage(
                    self._url.render_as_string(hide_password=False),
                    engine_kwargs=options,
                    heartbeat_interval=self._beat,
                    grace_period=max(1, round(lost_after)),
                )
        # One cache for the process; without it, each view of the search would make its own.
        self.optuna: BaseStorage = get_storage(self._storage)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn an error of the database in the block into one in words, without its password."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            inner = error if isinstance(error, SQLAlchemyError) else error.__cause__ or error
            cause = getattr(inner, "orig", None) or inner
            text = " ".join(str(cause).split())
            if self._url.password:
                text = text.replace(str(self._url.password), "***")
            raise SettingsError(
                f"--storage {self._url.render_as_string()}: the database cannot be used: "
                f"{text:.400}. Expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE of a server "
                "that is running and a user who may create tables"
            ) from None

    @contextmanager
    def _locked(self, key: int) -> Iterator[None]:
        from sqlalchemy import text

        with self._engine.begin() as connection:
            # A holder that is stopped, or whose machine has lost its power, loses the lock.
            for setting, value in (
                ("idle_in_transaction_session_timeout", "60s"),
                ("tcp_keepalives_idle", "30"),
                ("tcp_keepalives_interval", "10"),
            ):
                connection.execute(text(f"SET LOCAL {setting} = '{value}'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            yield

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock under which trials change hands; wait for it."""
        return self._locked(self._key)

    @contextmanager
    def alive(self, worker: str) -> Iterator[None]:
        """Show during the block that the worker of the current trial lives."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self._beat):
                trial = self._current
                try:
                    if trial is not None:
                        self._storage.record_heartbeat(trial)
                except Exception:  # the server is away; the next sign of life may reach it
                    continue

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(BEAT)

    def beat(self, trial: int) -> None:
        """Show that the worker of a trial lives: once, when it takes the trial."""
        self._storage.record_heartbeat(trial)
        self._current = trial

    def lost(self, study: Study) -> list[FrozenTrial]:
        """Return the running trials whose workers are dead; called under the lock."""
        stale = set(self._storage._get_stale_trial_ids(study._study_id))
        return [
            trial
            for trial in _running(study)
            if trial._trial_id in stale or WORKER not in trial.user_attrs
        ]


def parse_url(url: str) -> URL:
    """Return the address of a database, for psycopg 3.

    Raises: SettingsError if it is none of PostgreSQL.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(_expected("is no address of a database")) from None
    kind = parsed.drivername.partition("+")[0]
    if kind not in ("postgresql", "postgres"):
        why = "; SQLite cannot be written by many machines" * (kind == "sqlite")
        raise SettingsError(_expected(f"{kind} is not supported{why}"))
    parsed = parsed.set(drivername="postgresql+psycopg")
    if isinstance(password := parsed.query.get("password"), str):  # the form of libpq
        parsed = parsed.set(password=password).difference_update_query(["password"])
    return parsed


def _expected(problem: str) -> str:
    return (
        f"--storage: {problem}. Expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or leave "
        "--storage out: one machine needs no database"
    )


def hide_password(url: str) -> str:
    """Return an address with *** in place of its password."""
    shown = parse_url(url).set(drivername="postgresql")
    return shown.render_as_string(hide_password=True)


def without_password(url: str) -> str:
    """Return an address without its password, which PGPASSWORD or ~/.pgpass may supply."""
    if not url:
        return ""
    # Not `set`, for which None means no change.
    shown = parse_url(url).set(drivername="postgresql")._replace(password=None)
    return shown.render_as_string(hide_password=False)
