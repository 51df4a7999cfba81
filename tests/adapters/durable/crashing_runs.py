"""A process that runs ten runs of five steps, and kills itself after a number of step starts (0: never)."""

import json
import os
import signal
import sys
from pathlib import Path

import anyio

from adapters.durable.dbos_journal import DbosJournal
from gateway.core.json import JsonObject
from gateway.core.ports.journal import Journal


async def main(directory: Path, kill_after: int) -> None:
    started = 0

    async def body(journal: Journal, run_id: str, spec: JsonObject) -> JsonObject:
        async def act(name: str) -> JsonObject:
            nonlocal started
            started += 1
            if started == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            with (directory / "acted").open("a") as file:
                file.write(name + "\n")
            return {"name": name}

        said: list[object] = []
        for k in range(5):
            name = f"{run_id}/{k}"
            said.append((await journal.draw().run(name, lambda name=name: act(name)))["name"])
        return {"said": [str(each) for each in said]}

    journal = DbosJournal(directory / "runs.db")
    await journal.launch(body)
    outcomes: dict[str, object] = {}
    for n in range(10):
        await journal.start(f"run_{n}", {})
    for n in range(10):
        outcomes[f"run_{n}"] = (await journal.wait(f"run_{n}"))["said"]
    await journal.aclose()
    print(json.dumps(outcomes))  # noqa: T201 - the answer to the test that started this process


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
