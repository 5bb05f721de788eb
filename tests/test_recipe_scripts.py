"""The scripts of the bundled weights run to their ends, with options that the commands have."""

import os
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from sa_engine.cli.main import group

ROOT = Path(__file__).resolve().parents[1]

STAND_IN = """#!/bin/sh
# In the engine's place: notes what it is told, and makes the file that it should write.
echo "$@" >>"$CALLS"
while [ $# -gt 1 ]; do
    if [ "$1" = --out ]; then
        mkdir -p "$(dirname "$2")"
        echo weights >"$2"
    fi
    shift
done
[ -z "${FAIL:-}" ] || ! tail -1 "$CALLS" | grep -q -e "$FAIL"
"""


def run(folder: Path, script: str, *arguments: str, **environment: str) -> list[str]:
    """The engine's calls of a script that runs in an empty folder."""
    engine = folder / "engine"
    engine.write_text(STAND_IN)
    engine.chmod(0o755)
    calls = folder / "calls"
    told = {"ENGINE": str(engine), "PYTHON": "true", "CALLS": str(calls), **environment}
    command = [str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **told}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return calls.read_text().splitlines()


def check(line: str) -> None:
    """AssertionError unless a command takes these options with these values."""
    command: click.Command = group
    words = shlex.split(line)
    context = click.Context(command)
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    context = click.Context(command)
    try:
        values, rest, _ = command.make_parser(context).parse_args(args=words)
    except click.UsageError as error:
        raise AssertionError(f"{line!r}: {error.message}") from error
    assert not rest, f"{line!r}: what is {rest}?"
    for parameter in command.params:
        given = values.get(parameter.name or "")
        for value in given if isinstance(given, list) else [given]:
            # Files need not be there.
            kind = parameter.type
            if isinstance(value, str) and isinstance(
                kind, click.Choice | type(click.INT) | type(click.FLOAT)
            ):
                kind.convert(value, parameter, context)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_recipe_of_the_model(tmp_path: Path, kind: str) -> None:
    calls = run(tmp_path, "bundled_model.sh", kind, "data", "work")
    for line in calls:
        check(line)
    trained = [line.split("--out ")[1].split()[0] for line in calls if line.startswith("train sam")]
    stages = {
        "cpu": ["work/small", "work/large", "work/final"],
        "gpu": ["work/run/all", "work/run/final"],
    }
    assert trained == [f"{name}.safetensors" for name in stages[kind]]
    weights = tmp_path / "sa_engine" / "model" / "weights"
    assert (weights / "lite2.safetensors").read_text() == "weights\n"
    assert (weights / "lite2-detector.safetensors").exists() == (kind == "gpu")
    # Finished parts are not made again.
    (tmp_path / "calls").unlink()
    again = run(tmp_path, "bundled_model.sh", kind, "data", "work")
    assert {line.split()[0] for line in again} == {"evaluate"}


def test_a_phase_that_fails_is_tried_once_more_and_others_go_on(tmp_path: Path) -> None:
    calls = run(
        tmp_path,
        "bundled_model_gpu.sh",
        *("start.safetensors", "results", "work", "a.pack"),
        FAIL="all.safetensors --data",
        BATCH="48",
        LR="8e-4",
    )
    first, second, decoder, detector = calls
    assert "--batch-images 48 --lr 8e-4" in first
    assert "--batch-images 24 --lr 0.0004" in second
    assert decoder.startswith("train sam") and "--freeze-encoder" in decoder
    assert detector.startswith("train detector")
    assert "--checkpoint work/final.safetensors" in detector
    kept = {path.name for path in (tmp_path / "results").iterdir()}
    assert {"final.safetensors.part-aa", "lite2-detector.safetensors", "log.txt"} <= kept


def test_a_wrong_option_would_be_noticed() -> None:
    check("train sam --data a --out b --precision bf16 --steps 3")
    for line in ("train sam --presision bf16", "train sam --precision half", "train sam a"):
        with pytest.raises((AssertionError, click.BadParameter)):
            check(line)
