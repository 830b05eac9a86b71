"""`python -m infra.fuzz`: schemathesis against the whole service; ARGS go to `schemathesis run`."""

import sys
import tempfile
from pathlib import Path

from infra.fuzz.run import fuzz

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        ended = fuzz(Path(folder), sys.argv[1:])
    print(ended.stdout)
    sys.exit(ended.returncode)
