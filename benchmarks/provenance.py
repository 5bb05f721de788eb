"""What a result was measured with: commit, day, processor, load."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def commit() -> str:
    """The commit that was run, 12 hex digits; "unknown" outside a checkout."""
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=_HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def today() -> str:
    """The day in UTC, as 2026-01-31."""
    return datetime.now(UTC).date().isoformat()


def processor() -> str:
    """The processor's name as Linux knows it, elsewhere as Python does."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def load_average() -> list[float]:
    """Processes that wanted a core: means over 1, 5 and 15 minutes."""
    return [round(each, 1) for each in os.getloadavg()]
