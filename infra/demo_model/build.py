"""Puts the demo model where workers look for it.

`python -m infra.demo_model.build FOLDER` copies the trained checkpoint, a few megabytes.
"""

import shutil
import sys
import tempfile
from pathlib import Path

CHECKPOINT = Path(__file__).with_name("checkpoint")
COMPLETE = "model_index.json"


def build(folder: Path) -> Path:
    """Put the model there unless the folder has it; all of it appears at once, by whomever.

    Raises `OSError` when the folder holds something else.
    """
    if (folder / COMPLETE).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        shutil.copytree(CHECKPOINT, draft, dirs_exist_ok=True)
        draft.chmod(0o755)  # mkdtemp keeps it to its owner, a worker may be somebody else
        draft.rename(folder)
    except OSError:
        # Another process was faster: its model is the same.
        if not (folder / COMPLETE).exists():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
