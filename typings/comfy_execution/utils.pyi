"""What the pack uses of ComfyUI's helpers for what is being run."""

from typing import NamedTuple

class ExecutionContext(NamedTuple):
    node_id: str

def get_executing_context() -> ExecutionContext | None: ...
