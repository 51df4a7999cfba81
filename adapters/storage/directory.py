"""Where a gateway keeps its files, and the note that tells its own commands where it listens. Opens no database."""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.core.errors import InvalidRequest, Unavailable

VARIABLE = "DRAWBRIDGE_DATA"
FOLDER = ".drawbridge"

_OWN_NAMES = ("gateway.db", "audit.db", "runs.db", "scratch.db", "keys", "endpoint.json", "gateway.lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a running gateway listens."""

    url: str
    pid: int
    started_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDirectory:
    """The data directory and the names of everything in it."""

    root: Path

    @property
    def gateway_db(self) -> Path:
        return self.root / "gateway.db"

    @property
    def audit_db(self) -> Path:
        return self.root / "audit.db"

    @property
    def runs_db(self) -> Path:
        return self.root / "runs.db"

    @property
    def scratch_db(self) -> Path:
        return self.root / "scratch.db"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def operator_key(self) -> Path:
        return self.keys / "operator.key"

    @property
    def endpoint(self) -> Path:
        return self.root / "endpoint.json"

    @property
    def lock(self) -> Path:
        return self.root / "gateway.lock"

    def prepare(self) -> None:
        """Create what is missing, closed to everybody else.

        Raises: InvalidRequest: it is no directory, or holds other things and is open to others;
            Unavailable: it cannot be created or closed.
        """
        try:
            self.root.mkdir(parents=True, mode=0o700, exist_ok=True)
            self._close_to_others()
            self.keys.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError as error:
            raise InvalidRequest(f"{error.filename} is not a directory; choose another with --data") from error
        except OSError as error:
            raise Unavailable(f"the data directory {self.root} cannot be used: {error.strerror}") from error

    def _close_to_others(self) -> None:
        mode = stat.S_IMODE(self.root.stat().st_mode)
        if os.name == "nt" or not mode & 0o077:
            return
        # Somebody's home or project folder is not ours to close; an empty one, or one we made, is.
        foreign = [each.name for each in self.root.iterdir() if not each.name.startswith(_OWN_NAMES)]
        if foreign:
            raise InvalidRequest(
                f"the data directory {self.root} is open to other users (mode {mode:03o}) and holds other files"
                f" ({sorted(foreign)[0]}): run `chmod 700` on it, or choose another with --data"
            )
        self.root.chmod(0o700)

    def write_endpoint(self, endpoint: Endpoint) -> None:
        """Say where this gateway listens; readers see the old note or the new one, never half of one."""
        told = {"url": endpoint.url, "pid": endpoint.pid, "started_at_us": endpoint.started_at_us}
        draft = self.endpoint.with_suffix(f".{os.getpid()}")
        try:
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(told, file)
            draft.replace(self.endpoint)
        except OSError as error:
            raise Unavailable(f"{self.endpoint} cannot be written: {error.strerror}") from error

    def read_endpoint(self) -> Endpoint | None:
        """What the last gateway here wrote, or None. It may be gone since: only asking it tells."""
        try:
            told = json.loads(self.endpoint.read_bytes())
            return Endpoint(url=str(told["url"]), pid=int(told["pid"]), started_at_us=int(told["started_at_us"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remove_endpoint(self) -> None:
        """Take the note away again on the way out."""
        self.endpoint.unlink(missing_ok=True)


def data_directory(
    given: Path | None, *, configuration: Path | None, environment: Mapping[str, str] = os.environ
) -> DataDirectory:
    """The directory to use: `given`, else $DRAWBRIDGE_DATA, else `.drawbridge/` beside the configuration file."""
    if given is None and environment.get(VARIABLE):
        given = Path(environment[VARIABLE])
    if given is None:
        beside = configuration.parent if configuration is not None else Path()
        given = beside / FOLDER
    return DataDirectory(root=given.expanduser().absolute())
