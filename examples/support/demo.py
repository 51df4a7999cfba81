"""The main job, run for real: one request across three agents and two MCP servers, entered by MCP and by A2A.

drawbridge demo                     the story
drawbridge demo --crash             the same, with the gateway killed (kill -9) in the middle of each run
drawbridge demo --fail scheduling   the same, with one agent switched off
drawbridge demo --serve             leave everything running, and print how to connect
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import anyio
from rich.console import Console
from rich.panel import Panel

from examples.support.customers import Assistant, ask_by_a2a, ask_by_mcp
from examples.support.world import AGENTS, KEYS, DemoFailed, World, make_world

console = Console(highlight=False)
Ask = Callable[[Assistant, str], Awaitable[str]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when everything in it happened as it should."""
    options = _options(argv)
    started_s = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drawbridge-demo-")))
        try:
            world = make_world(folder, stack)
            with console.status("starting two MCP servers, four agents and the gateway ..."):
                world.start_neighbours(without=options.fail)
                world.start_gateway()
            console.print(f"gateway at {world.url}, ready after {time.monotonic() - started_s:.1f} s\n")
            anyio.run(story, world, bool(options.crash))
            ended_well = epilogue(world, failing=options.fail)
            console.print(f"\nThat took {time.monotonic() - started_s:.1f} s.")
            _try_next(world, serving=options.serve)
            if options.serve:
                _wait()
        except DemoFailed as error:
            console.print(f"[red]The demo stopped:[/red] {error}")
            return 1
    return 0 if ended_well else 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="drawbridge demo", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--crash", action="store_true", help="kill the gateway (kill -9) in the middle of each run")
    parser.add_argument("--fail", choices=AGENTS[1:], default="", help="switch one agent off")
    parser.add_argument("--serve", action="store_true", help="leave everything running")
    return parser.parse_args(argv)


async def story(world: World, crash: bool) -> dict[str, str]:
    """Have both customers ask, one after the other; their answers by order."""
    answers: dict[str, str] = {}
    for order, who, ask in (
        ("A-1007", "Ana, through an MCP client", ask_by_mcp),
        ("A-1008", "Ben, through an A2A client", ask_by_a2a),
    ):
        console.rule(who)
        answers[order] = await _tell(world, order, ask, crash=crash)
    return answers


async def _tell(world: World, order: str, ask: Ask, *, crash: bool) -> str:
    back = anyio.Event()
    if not crash:
        back.set()

    def say(text: str) -> None:
        console.print(f"  [dim]{text}[/dim]")

    answers: list[str] = []

    async def converse() -> None:
        answers.append(await ask(Assistant(world.url, KEYS["ana"], say, back.wait), order))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(converse)
        if crash:
            await _kill_in_the_middle(world, order)
            back.set()
    console.print(Panel(answers[0], title=f"the answer about {order}", title_align="left"))
    return answers[0]


async def _kill_in_the_middle(world: World, order: str) -> None:
    """Kill the gateway as soon as the first effect of this order is in the shop, and start it again."""
    with anyio.fail_after(120):
        while not any(row[0] == order for rows in world.effects().values() for row in rows):  # noqa: ASYNC110 - the effect is another process's
            await anyio.sleep(0.02)
    await anyio.to_thread.run_sync(world.kill_gateway)
    console.print("  [bold red]kill -9[/bold red] of the gateway, after the first effect and before the last")
    await anyio.to_thread.run_sync(world.start_gateway)
    console.print("  the gateway is back; the run goes on by itself")


def epilogue(world: World, *, failing: str) -> bool:
    """Show what happened: effects, run tree, denial, audit. Whether all of it is as it should be."""
    console.rule("what really happened, from the shop's and the calendar's own files")
    effects = world.effects()
    for name, rows in effects.items():
        for row in rows:
            console.print(f"  {name}: {', '.join(str(value) for value in row)}")
    counts = {name: len(rows) for name, rows in effects.items()}
    off = {"refunds": "refunds", "replacements": "shipments", "scheduling": "call-backs"}.get(failing, "")
    once = all(count == (0 if name == off else 2) for name, count in counts.items())
    console.print("  every effect happened exactly once" if once else f"  [red]not once each: {counts}[/red]")
    console.rule("the last run, as `drawbridge runs show` prints it")
    shown = world.drawbridge("runs", "show", "--last")
    console.rule("what was refused, and by which rule: `drawbridge audit search --outcome denied`")
    denied = world.drawbridge("audit", "search", "--outcome", "denied")
    console.rule("the audit log: `drawbridge audit verify`")
    verified = world.drawbridge("audit", "verify")
    return once and (shown, denied, verified) == (0, 0, 0)


def _try_next(world: World, *, serving: bool) -> None:
    console.print("\nTry next:")
    command = _command()
    if not serving:
        console.print(f"  {command} demo --crash              kill the gateway in the middle of each run")
        console.print(f"  {command} demo --fail scheduling    see a partial answer that names its gap")
        console.print(f"  {command} demo --serve              leave it running, and connect your own client")
        console.print(f"  {command} init                      begin a configuration of your own")
        return
    where = f"--config {world.config}"
    console.print(f"  {command} connect claude-code --as ana {where}")
    console.print(f"  {command} explain --as scheduling --call tool:orders/refund {where}")
    console.print(f"  {command} audit tail {where}")
    console.print(f"  or any MCP client: {world.url}/mcp with the header Authorization: Bearer {KEYS['ana']}")
    console.print("\nEverything stays up until you press Ctrl-C.")


def _command() -> str:
    """How the command is called from here: by its name, or where the virtual environment is not on the path, by it."""
    if shutil.which("drawbridge"):
        return "drawbridge"
    beside = Path(sys.executable).parent / "drawbridge"
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)


def _wait() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("stopping")


if __name__ == "__main__":
    raise SystemExit(main())
