"""Tells a story: starts its agents, its servers and a gateway, asks, and prints the answers and what happened.

python -m examples.stories                        which stories there are
python -m examples.stories NAME                   one of them
python -m examples.stories NAME --crash N         the same, with the gateway killed (kill -9) at the Nth call

A story without agents of its own is a scenario, which `drawbridge test` tells.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from examples.stories.kit import Ask, Story, StoryFailed, Told, World, telling

HERE = Path(__file__).parent


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.stories", description="Tells a story.")
    parser.add_argument("name", nargs="?", choices=[*names()], help="which one; none lists them")
    parser.add_argument("--crash", type=int, default=0, metavar="N", help="kill the gateway at the Nth call")
    options = parser.parse_args(argv)
    if not options.name:
        print("\n".join(names()))
        return 0
    if not (HERE / options.name / "story.py").exists():
        return played(options.name)
    story = story_called(options.name)
    try:
        with tempfile.TemporaryDirectory(prefix="drawbridge-story-") as folder, telling(story, Path(folder)) as world:
            if options.crash:
                world.crash_at(options.crash)
            tell(world)
    except StoryFailed as error:
        print(f"The story stopped: {error}")
        return 1
    return 0


def names() -> Iterator[str]:
    """Names of all stories."""
    yield from sorted(path.parent.name for path in HERE.glob("*/gateway.yaml"))


def story_called(name: str) -> Story:
    """The story of this name."""
    found: Story = import_module(f"examples.stories.{name}.story").STORY
    return found


def played(name: str) -> int:
    """Have `drawbridge test` run the story's scenarios; its exit code."""
    command = [sys.executable, "-m", "gateway", "test", str(HERE / name / "scenario.yaml")]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - ours


def tell(world: World) -> list[Told]:
    """Ask what the story asks, and print the answers and the runs; the answers."""
    story = world.story
    asks = [*story.asks]
    answers = world.ask_together(*asks) if story.together else []
    for number, ask in enumerate(asks):
        if not story.together:
            answer = world.begin(ask)
            if story.meanwhile is not None:
                story.meanwhile(world)
            answers.append(answer.result())
        _print(world, ask, answers[number])
    for name, effects in world.effects.items():
        for effect in effects.all:
            print(f"{name} did {effect.name}: {', '.join(f'{key} {value}' for key, value in effect.what.items())}")
    if story.epilogue is not None:
        print(story.epilogue(world, answers))
    return answers


def _print(world: World, ask: Ask, told: Told) -> None:
    print(f"\n{ask.who} to {ask.workflow}: {ask.message}\n")
    print(told.text)
    for notice in told.notices:
        print(f"({notice})")
    if told.run:
        print(world.drawbridge("runs", "show", told.run, "--form", "table").stdout)


if __name__ == "__main__":
    sys.exit(main())
