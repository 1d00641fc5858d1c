"""The folder as a custom node, and as what it is elsewhere: nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.comfyui.server import ROOT, Installation, Server

LOAD = """
import asyncio, importlib.util, json, sys, time
for name in ("triton", "matplotlib", "diffusers", "sklearn"):
    sys.modules[name] = None
sys.argv = ["main.py", "--cpu"]
sys.path.insert(0, {comfyui!r})
import comfy.options
comfy.options.enable_args_parsing()
import comfy.model_management, comfy.model_patcher, comfy.utils, folder_paths
from comfy_api.v0_0_2 import io
started = time.perf_counter()
spec = importlib.util.spec_from_file_location({name!r}, {init!r})
module = importlib.util.module_from_spec(spec)
sys.modules[{name!r}] = module
spec.loader.exec_module(module)
nodes = asyncio.run(asyncio.run(module.comfy_entrypoint()).get_node_list())
ids = [node.GET_SCHEMA().node_id for node in nodes]
seconds = time.perf_counter() - started
heavy = [m for m in ("transformers", "diffusers", "pydantic_core") if sys.modules.get(m)]
print(json.dumps({{"ids": ids, "seconds": seconds, "heavy": heavy}}))
"""
IDS = {
    "ToProVAR_LoadInfinity", "ToProVAR_TextEncode", "ToProVAR_Sampler", "ToProVAR_Size",
    "ToProVAR_SparsityPlanner", "ToProVAR_EntropyAnalyzer", "ToProVAR_CompareRuns",
    "ToProVAR_SavePlan", "ToProVAR_LoadPlan", "ToProVAR_CalibrateInfinity", "ToProVAR_Draft",
    "ToProVAR_FinishDrafts", "ToProVAR_SaveDraft", "ToProVAR_LoadDraft", "ToProVAR_Encode",
    "ToProVAR_Inpaint", "ToProVAR_Edit", "ToProVAR_Instruct",
    "ToProVAR_PromptsFromFile",
}
"""Workflows name them: never to be changed."""


def test_importing_the_folder_outside_comfyui_does_nothing() -> None:
    code = ("import importlib.util as u, sys; before = set(sys.modules);"
            f"s = u.spec_from_file_location('anything', {str(ROOT / '__init__.py')!r},"
            f" submodule_search_locations=[{str(ROOT)!r}]);"
            "m = u.module_from_spec(s); s.loader.exec_module(m);"
            "print(m.WEB_DIRECTORY, [n for n in set(sys.modules) - before if 'torch' in n])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["./web", "[]"]


def test_loads_without_optional_packages_and_quickly(installation: Installation,
                                                     tmp_path: Path) -> None:
    code = LOAD.format(comfyui=str(installation.folder / "ComfyUI"),
                       init=str(ROOT / "__init__.py"), name=f"{tmp_path}/custom_nodes/pack")
    done = subprocess.run([str(installation.python), "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["ids"]) == IDS
    # What is slow to import waits until a node runs; 0.5 s is what the pack allows itself.
    assert "diffusers" not in found["heavy"]
    assert found["seconds"] < 2, found


def test_is_not_installed_in_comfyuis_python(installation: Installation) -> None:
    """Otherwise these tests would not show that the folder alone is enough."""
    code = "import importlib.util as u; print(u.find_spec('toprovar'))"
    done = subprocess.run([str(installation.python), "-c", code], capture_output=True, text=True,
                          cwd=installation.folder, check=True)
    assert done.stdout.strip() == "None"


def test_node_files_use_relative_imports_only() -> None:
    for path in [ROOT / "__init__.py", *(ROOT / "nodes").rglob("*.py")]:
        text = path.read_text("utf-8")
        assert not re.search(r"^\s*(from|import) toprovar", text, re.M), path
        assert not re.search(r"\b(eval|exec|subprocess|pip\.main)\(", text), path
        if path.name != "host.py":
            assert not re.search(r"^\s*(from|import) (comfy|folder_paths)", text, re.M), path


def test_the_servers_log_is_clean(server: Server) -> None:
    log = server.log.read_text("utf-8")
    assert "IMPORT FAILED" not in log
    assert "ToProVAR" in log and "Error while calling comfy_entrypoint" not in log
