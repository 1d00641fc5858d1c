"""The declarations in typings/, which the type checker goes by, are true of a real ComfyUI."""

from __future__ import annotations

import json
import subprocess

from tests.comfyui.server import ROOT, Installation, environment

CHECK = """
import ast, importlib, inspect, json, sys
from pathlib import Path
comfyui, typings = sys.argv[1:]
sys.argv = ["main.py", "--cpu"]
sys.path.insert(0, comfyui)
import comfy.options
comfy.options.enable_args_parsing()
import utils.install_util  # before another "utils" is found
checked, wrong = 0, []

def hold(where, node, real):
    global checked
    checked += 1
    if isinstance(node, ast.ClassDef):
        for part in node.body:
            if isinstance(part, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                found = getattr(real, part.name, None)
                hold(f"{where}.{part.name}", part, found) if found else wrong.append(
                    f"{where}.{part.name} is missing")
        return
    known = inspect.signature(real).parameters
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return
    given = [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
    wrong.extend(f"{where} takes no {name}" for name in given
                 if name not in known and name != "cls")

for file in sorted(Path(typings).rglob("*.pyi")):
    parts = list(file.relative_to(typings).with_suffix("").parts)
    if parts[0] == "ray":  # which is not ComfyUI's, and not here: tests/batch/test_ray.py runs it
        continue
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError:  # a name inside its package
        module = getattr(importlib.import_module(".".join(parts[:-1])), parts[-1])
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.AnnAssign):
            checked += 1
            if not hasattr(module, node.target.id):
                wrong.append(f"{name}.{node.target.id} is missing")
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found = getattr(module, node.name, None)
            hold(f"{name}.{node.name}", node, found) if found else wrong.append(
                f"{name}.{node.name} is missing")
print(json.dumps([checked, wrong]))
"""


def test_names_and_parameters_are_those_of_comfyui(installation: Installation) -> None:
    done = subprocess.run(
        [str(installation.python), "-c", CHECK, str(installation.folder / "ComfyUI"),
         str(ROOT / "typings")], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    checked, wrong = json.loads(done.stdout.splitlines()[-1])
    assert wrong == []
    assert checked > 40
