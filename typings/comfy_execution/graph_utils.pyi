"""What the pack uses of ComfyUI's execution of graphs."""

class ExecutionBlocker:
    def __init__(self, message: str | None) -> None: ...
