"""Sockets, schemas and results of nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

class Input:
    id: str
    default: Any  # of widgets only
    extra_dict: dict[str, Any] | None
    advanced: bool | None  # of later versions only

    def __init__(self, id: str, *, optional: bool = ..., tooltip: str | None = ...,
                 lazy: bool | None = ...) -> None: ...

class Output:
    def __init__(self, *, display_name: str | None = ..., tooltip: str | None = ...) -> None: ...

_Input = Input  # the names that classes below have inside themselves too
_Output = Output

class ComfyTypeIO:
    class Input(_Input): ...
    class Output(_Output): ...

class Image(ComfyTypeIO): ...
class Latent(ComfyTypeIO): ...
class Mask(ComfyTypeIO): ...
class Vae(ComfyTypeIO): ...

class Boolean(ComfyTypeIO):
    class Input(_Input):
        def __init__(self, id: str, *, optional: bool = ..., tooltip: str | None = ...,
                     default: bool | None = ..., label_on: str | None = ...,
                     label_off: str | None = ...) -> None: ...

class Int(ComfyTypeIO):
    class Input(_Input):
        def __init__(self, id: str, *, optional: bool = ..., tooltip: str | None = ...,
                     default: int | None = ..., min: int | None = ..., max: int | None = ...,
                     step: int | None = ..., control_after_generate: bool | None = ...
                     ) -> None: ...

class Float(ComfyTypeIO):
    class Input(_Input):
        def __init__(self, id: str, *, optional: bool = ..., tooltip: str | None = ...,
                     default: float | None = ..., min: float | None = ..., max: float | None = ...,
                     step: float | None = ...) -> None: ...

class String(ComfyTypeIO):
    class Input(_Input):
        def __init__(self, id: str, *, optional: bool = ..., tooltip: str | None = ...,
                     default: str | None = ..., multiline: bool = ...,
                     dynamic_prompts: bool | None = ..., socketless: bool | None = ...
                     ) -> None: ...

class Combo(ComfyTypeIO):
    class Input(_Input):
        def __init__(self, id: str, options: Sequence[str], *, optional: bool = ...,
                     tooltip: str | None = ..., default: str | None = ...) -> None: ...

class MultiType(ComfyTypeIO):
    class Input(_Input):
        def __init__(self, id: str, types: Sequence[type[ComfyTypeIO]], *, optional: bool = ...,
                     tooltip: str | None = ...) -> None: ...

def Custom(io_type: str) -> type[ComfyTypeIO]: ...  # noqa: N802  # ComfyUI's name

@dataclass
class Schema:
    node_id: str
    display_name: str | None = ...
    category: str = ...
    inputs: list[Input] = ...
    outputs: list[Output] = ...
    description: str = ...
    is_output_node: bool = ...

class Hidden:
    unique_id: Any
    prompt: Any
    extra_pnginfo: Any

class HiddenHolder:
    unique_id: str
    prompt: Any
    extra_pnginfo: Any

class NodeOutput:
    def __init__(self, *args: Any, ui: Mapping[str, Any] | None = ...) -> None: ...

class ComfyNode:
    hidden: HiddenHolder
    @classmethod
    def define_schema(cls) -> Schema: ...
    @classmethod
    def execute(cls, **kwargs: Any) -> NodeOutput: ...
    @classmethod
    def validate_inputs(cls, **kwargs: Any) -> bool | str: ...
    @classmethod
    def fingerprint_inputs(cls, **kwargs: Any) -> Any: ...
    @classmethod
    def check_lazy_status(cls, **kwargs: Any) -> list[str]: ...
