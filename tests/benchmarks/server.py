"""`twin serve` and `twin worker` as they are, but for the provider, which does nothing in $BENCH_STEP_SECONDS.

TWIN_DATA_DIR=… TWIN_PORT=… python -m tests.benchmarks.server serve|worker
"""

from __future__ import annotations

import os
import sys

from api import bootstrap
from tests.benchmarks.subject import Kind
from twin import settings


def main() -> None:
    seconds = float(os.environ.get("BENCH_STEP_SECONDS", "0"))
    bootstrap.provider_kinds = lambda: {"bench": Kind(seconds)}  # type: ignore[dict-item]
    told = settings.read(os.environ)
    {"serve": bootstrap.serve, "worker": bootstrap.worker}[sys.argv[1]](told)


if __name__ == "__main__":
    main()
