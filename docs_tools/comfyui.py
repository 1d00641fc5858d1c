"""Just enough of ComfyUI's interface to ask the nodes of this pack for their schemas.

The reference is written on machines without ComfyUI. The classes here keep what they are given and
do nothing else. ``tests/comfyui/test_object_info.py`` compares what is read through them with what
a real ComfyUI says.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

PACK = "_pack_without_comfyui"
ROOT = Path(__file__).resolve().parents[1]


class Input:
    """An input of a node.

    Args:
        options: as the classes of ComfyUI take them: ``tooltip``, ``default``, ``min`` ...
    """

    io_type = "*"

    def __init__(self, id: str, **options: Any) -> None:
        self.id, self.options = id, options
        self.optional = bool(options.get("optional"))
        self.tooltip: str = options.get("tooltip") or ""
        self.advanced: bool | None = None
        self.extra_dict: dict[str, Any] | None = None
        if options.get("default") is not None:
            self.default = options["default"]


class Output:
    """An output of a node."""

    io_type = "*"

    def __init__(self, *, display_name: str = "", tooltip: str = "") -> None:
        self.display_name, self.tooltip = display_name, tooltip


class ComboInput(Input):
    io_type = "COMBO"

    def __init__(self, id: str, options: Sequence[str], **more: Any) -> None:
        super().__init__(id, **more)
        self.choices = list(options)


class MultiTypeInput(Input):
    def __init__(self, id: str, types: Sequence[Any], **more: Any) -> None:
        super().__init__(id, **more)
        self.io_type = ",".join(one.Input.io_type for one in types)


@dataclass
class Option:
    """A choice that has inputs of its own."""

    key: str
    inputs: list[Input]


class DynamicComboInput(Input):
    io_type = "COMBO"

    def __init__(self, id: str, options: Sequence[Option], **more: Any) -> None:
        super().__init__(id, **more)
        self.choices, self.groups = [one.key for one in options], list(options)
        self.default = self.choices[0]


@dataclass
class TemplateNames:
    """Inputs that appear one after the other."""

    input: Input
    names: list[str]
    min: int


class AutogrowInput(Input):
    def __init__(self, id: str, template: TemplateNames, **more: Any) -> None:
        super().__init__(id, **more)
        self.template, self.io_type = template, template.input.io_type


@dataclass
class Schema:
    """What a node says of itself."""

    node_id: str
    display_name: str
    category: str
    description: str = ""
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    hidden: Sequence[Any] = ()
    search_aliases: Sequence[str] = ()
    is_output_node: bool = False
    not_idempotent: bool = False
    has_intermediate_output: bool = False
    accept_all_inputs: bool = False


class ComfyNode:
    """Base of a node."""


def custom(io_type: str) -> Any:
    """Sockets of a type."""
    return SimpleNamespace(Input=type("Input", (Input,), {"io_type": io_type}),
                           Output=type("Output", (Output,), {"io_type": io_type}))


def _interface() -> Mapping[str, Any]:
    """``comfy_api``'s module ``io``."""
    kinds = {name: custom(name.upper()) for name in (
        "Boolean", "Int", "Float", "String", "Image", "Latent", "Mask", "Vae", "Clip", "Model",
        "Conditioning")}
    return {
        **kinds, "Combo": SimpleNamespace(Input=ComboInput), "Custom": custom,
        "MultiType": SimpleNamespace(Input=MultiTypeInput),
        "DynamicCombo": SimpleNamespace(Input=DynamicComboInput, Option=Option),
        "Autogrow": SimpleNamespace(Input=AutogrowInput, TemplateNames=TemplateNames),
        "Hidden": SimpleNamespace(unique_id="", prompt="", extra_pnginfo=""),
        "Input": Input, "Output": Output, "Schema": Schema, "ComfyNode": ComfyNode,
        "NodeOutput": SimpleNamespace,
    }


def _module(name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module
    above, _, last = name.rpartition(".")
    if above:
        setattr(sys.modules[above], last, module)


def load_nodes() -> list[Any]:
    """The node classes of this pack, imported under a name of their own. They get the stand-ins of
    ComfyUI's modules, in the whole process: this is for programs that do nothing else with them.

    Raises:
        RuntimeError: this process has a ComfyUI.
    """
    if PACK in sys.modules:
        return sys.modules[f"{PACK}.nodes"].NODES
    if "comfy_api" in sys.modules or "folder_paths" in sys.modules:
        raise RuntimeError("this process has ComfyUI's modules: the reference is written without")
    _module("comfy", __path__=[])
    _module("comfy.model_management", InterruptProcessingException=InterruptedError,
            OOM_EXCEPTION=MemoryError)
    _module("comfy.model_patcher", ModelPatcher=object)
    _module("comfy.utils")
    _module("comfy.cli_args", args=SimpleNamespace())
    _module("comfy_api", __path__=[])
    _module("comfy_api.v0_0_2", io=SimpleNamespace(**_interface()), ui=SimpleNamespace(),
            ComfyExtension=object)
    _module("comfy_execution", __path__=[])
    _module("comfy_execution.graph_utils", ExecutionBlocker=object)
    empty = str(ROOT / "docs_tools" / "no-such-folder")
    _module("folder_paths", models_dir=empty, folder_names_and_paths={},
            get_folder_paths=lambda name: [], get_input_directory=lambda: empty,
            get_output_directory=lambda: empty, get_temp_directory=lambda: empty)
    _module(PACK, __path__=[str(ROOT)])
    return import_module(f"{PACK}.nodes").NODES
