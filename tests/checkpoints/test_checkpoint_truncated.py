"""Files that are cut short after they were loaded, in a process of its own: it must not be killed.

A model that is still a view of its file dies of SIGBUS here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import tiny_pipeline

SCRIPT = """
import os, sys
from pathlib import Path
from toprovar import InfinityPipeline
from toprovar.models import mapped

folder = Path(sys.argv[1])
small = InfinityPipeline.from_folder(folder)
mapped.COPIED_BYTES = 0  # as if the model were large
asked = InfinityPipeline.from_folder(folder, disable_mmap=True)
for file in folder.rglob("*.safetensors"):
    os.truncate(file, 0)
for pipeline in (small, asked):
    print(pipeline("a red apple", seed=1).images[0].size)
"""


@pytest.mark.skipif(os.name == "nt", reason="a mapped file cannot be truncated there")
def test_a_file_that_is_cut_short_after_loading(tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path)
    run = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True,
                         text=True)
    assert run.returncode == 0, f"{run.returncode} {run.stderr[-2000:]}"
    assert run.stdout.count("(256, 256)") == 2
