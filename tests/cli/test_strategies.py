"""A method is one file: what it says of itself is what options, nodes and comparisons show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

import pytest
from pydantic import Field

from toprovar.cli.strategy_options import dest, flags
from toprovar.entropy.kinds import Normalization
from toprovar.sparsity.plan import Resize, Rule, Way
from toprovar.sparsity.strategies.base import Fit, Option, Settings, Strategy
from toprovar.sparsity.strategies.options import options_of, settings_of
from toprovar.sparsity.strategies.registry import (
    all_strategies,
    check_strategy,
    default_strategy,
    get_strategy,
    names,
    with_targets,
)
from toprovar.sparsity.strategies.toprovar.settings import Dimensions

ROOT = Path(__file__).resolve().parents[2]

TOY = '''
"""Leaves out the last scale's last tokens."""

from typing import Annotated, ClassVar

from pydantic import Field

from toprovar.sparsity.plan import ModelTag, SparsityPlan, dense_scales, schedule_name
from toprovar.sparsity.strategies.base import Fit, Option, Settings, Strategy


class ToySettings(Settings):
    strength: Annotated[float, Option("share of the last scale's tokens left out")] = Field(
        default=0.25, ge=0, le=0.9)


class ToyFit(Settings):
    level: Annotated[float, Option("how bright a picture should be")] = Field(
        default=0.5, ge=0, le=1)
    halves: Annotated[tuple[float, ...], Option("weights of its halves")] = (0.5, 0.5)


class Toy(Strategy[ToySettings]):
    name: ClassVar[str] = "toy"
    summary: ClassVar[str] = "a toy that drops tokens at random"
    settings: ClassVar[type[Settings]] = ToySettings
    targets: ClassVar[bool] = False
    fit: ClassVar[Fit | None] = Fit(
        "fit the toy's strength to pictures", "the toy's strengths", lambda own: "strength" in own,
        ToyFit, bundled=7, module="toy_fit")

    def plan(self, settings, context):
        *most, last = dense_scales(context.schedule, context.shape.depth)
        kept = round((1 - settings.strength) * last.tokens)
        last = last.model_copy(update={"keep": (kept,) * len(last.keep), "rule": "random"})
        return context.finished(SparsityPlan(
            strategy=self.name, parameters=settings.model_dump(),
            model=ModelTag.of(context.shape), schedule=schedule_name(context.schedule),
            scales=(*most, last)))


STRATEGIES = (Toy(),)
'''
TOY_FIT = '''
import json
from pathlib import Path


class Found(dict):
    def save(self, path):
        Path(path).write_text(json.dumps(self))


def check():
    print("nothing is missing")


def runs_of(images):
    return images


def fit(pipeline, prompts, seeds, *, schedules, batch, provenance, on_images, level, halves, **how):
    shades = []
    for prompt in prompts:
        for seed in seeds:
            drawn = pipeline(prompt, seed=seed, schedule=schedules[0], output_type="pt", **how)
            shades.append(float(drawn.images.mean()))
            on_images(1)
    return Found(strength=min(max(shades), level), pictures=len(shades), halves=halves,
                 provenance=provenance)


def told(found):
    yield f"{found['pictures']} pictures were measured"
'''


@pytest.fixture
def with_toy(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which a package with one method is installed."""
    site = tmp_path / "site"
    about = site / "toy_method-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "toy_method.py").write_text(TOY)
    (site / "toy_fit.py").write_text(TOY_FIT)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-method\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[toprovar.strategies]\ntoy = toy_method\n")
    paths = [str(site), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths),
            "TOPROVAR_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"}


def run(env: dict[str, str], where: Path, *arguments: object) -> str:
    done = subprocess.run([sys.executable, "-m", "toprovar", *map(str, arguments)], env=env,
                          cwd=where, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_packages_method_is_an_option(with_toy: dict[str, str], tmp_path: Path) -> None:
    told = run(with_toy, tmp_path, "generate", "--help")
    assert "a toy that drops tokens at random" in told
    assert "--toy-strength" in told and "(default: 0.25)" in told
    assert ", toy, a" in " ".join(told.split())


def test_another_packages_method_is_planned_and_compared(
    with_toy: dict[str, str], tmp_path: Path, tiny_model: Path
) -> None:
    run(with_toy, tmp_path, "plan", "make", "toy", "plan.json", "--model", tiny_model,
        "--toy-strength", "0.5")
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["strategy"] == "toy" and plan["parameters"] == {"strength": 0.5}
    grid, keep = plan["scales"][-1]["grid"], plan["scales"][-1]["keep"]
    assert set(keep) == {round(grid[0] * grid[1] / 2)}
    run(with_toy, tmp_path, "compare", "a red cat", "--model", tiny_model, "--strategies",
        "toy,fastvar", "--no-warm-up")
    rows = json.loads((tmp_path / "compare.json").read_text())["strategies"]
    assert [row["name"] for row in rows] == ["dense", "toy", "fastvar"]


def test_another_packages_method_is_fitted_by_a_command(
    with_toy: dict[str, str], tmp_path: Path, tiny_model: Path
) -> None:
    assert "fit the toy's strength to pictures" in run(with_toy, tmp_path, "--help")
    told = " ".join(run(with_toy, tmp_path, "fit-toy", "--help").split())
    assert "the toy's strengths (JSON)" in told and "without N: 7" in told
    assert "--level X how bright a picture should be (default: 0.5)" in told
    command = ["fit-toy", "a red cat", "--model", tiny_model, "--num-seeds", "2", "--halves",
               "0.25,1", "--out", "own.json"]
    told = run(with_toy, tmp_path, *command)
    assert "nothing is missing\n" in told and "2 pictures were measured\n" in told
    found = json.loads((tmp_path / "own.json").read_text())
    assert found["pictures"] == 2 and found["halves"] == [0.25, 1]
    assert found["provenance"]["command"].startswith("toprovar fit-toy --pixels 0.06M")
    assert found["provenance"]["command"].endswith("--num-seeds 2 --level 0.5 --halves 0.25,1")
    run(with_toy, tmp_path, *command)  # its own file is written anew, another kind is not
    (tmp_path / "own.json").write_text("{}")
    for more, wrong in (([], "is not the toy's strengths of 'toprovar fit-toy'"),
                        (["--level", "2"], "--level must be between 0 and 1, got 2.0")):
        done = subprocess.run([sys.executable, "-m", "toprovar", *map(str, command), *more],
                              env=with_toy, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2 and wrong in done.stderr, done.stderr


def test_the_example_of_the_guide_works(
    with_toy: dict[str, str], tmp_path: Path, tiny_model: Path
) -> None:
    guide = (ROOT / "docs/guide/add-a-method.md").read_text("utf-8")
    example = guide.split("```python\n")[1].split("```")[0].replace(
        "from ..plan", "from toprovar.sparsity.plan").replace(
        "from .base", "from toprovar.sparsity.strategies.base")
    (tmp_path / "site" / "toy_method.py").write_text(example)
    run(with_toy, tmp_path, "plan", "make", "short", "plan.json", "--model", tiny_model,
        "--short-left-out", "2")
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert [step.get("run", True) for step in plan["scales"]][-3:] == [True, False, False]


def test_another_packages_method_is_an_input(with_toy: dict[str, str], tmp_path: Path) -> None:
    """The planner's inputs without ComfyUI: its ``io`` stands in as a recorder."""
    script = tmp_path / "inputs.py"
    script.write_text('''
import json, sys, types
made = []
class Kind:
    def __init__(self, kind): self.kind = kind
    def Input(self, name, **about):
        made.append([self.kind, name, {k: about[k] for k in ("default", "min", "max")
                                       if k in about}])
        return types.SimpleNamespace(extra_dict={})
io = types.SimpleNamespace(**{k: Kind(k) for k in ("Combo", "Boolean", "Int", "Float", "String")})
for name in ("pack", "pack.nodes", "pack.nodes.support"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
import toprovar, importlib.util
for own in [m for m in list(sys.modules) if m.split(".")[0] == "toprovar"]:
    sys.modules[f"pack.{own}"] = sys.modules[own]
import toprovar.sparsity.strategies.base, toprovar.sparsity.strategies.options
import toprovar.sparsity.strategies.registry
for own in [m for m in list(sys.modules) if m.split(".")[0] == "toprovar"]:
    sys.modules[f"pack.{own}"] = sys.modules[own]
host = types.ModuleType("pack.nodes.support.host"); host.io = io
schema = types.ModuleType("pack.nodes.support.schema"); schema.advanced = lambda given: given
sys.modules |= {"pack.nodes.support.host": host, "pack.nodes.support.schema": schema}
spec = importlib.util.spec_from_file_location("pack.nodes.support.strategy_inputs", sys.argv[1])
module = importlib.util.module_from_spec(spec); sys.modules[spec.name] = module
spec.loader.exec_module(module)
module.later_inputs()
settings = module.settings_from("toy", {"toy_strength": 0.75, "fastvar_drop": "1"}, False)
print(json.dumps({"made": made, "strength": settings.strength,
                  "listed": "toy" in module.STRATEGIES}))
''')
    done = subprocess.run(
        [sys.executable, str(script), str(ROOT / "nodes" / "support" / "strategy_inputs.py")],
        env=with_toy, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert ["Float", "toy_strength", {"default": 0.25, "min": 0, "max": 0.9}] in found["made"]
    assert found["strength"] == 0.75 and found["listed"]


def test_a_broken_package_is_left_out(with_toy: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "site" / "toy_method.py").write_text("raise RuntimeError('not today')\n")
    done = subprocess.run([sys.executable, "-m", "toprovar", "generate", "--help"], env=with_toy,
                          cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "--alpha-max" in done.stdout
    assert "the strategies of toy_method cannot be used: not today" in done.stderr


def test_lists_are_in_order() -> None:
    assert names()[:4] == ("dense", "toprovar", "fastvar", "skipvar")
    assert "auto" not in names() and "auto" in all_strategies()
    assert "dense" not in with_targets() and default_strategy() == "toprovar"
    with pytest.raises(ValueError, match="unknown strategy 'slowvar'; expected one of dense, topr"):
        get_strategy("slowvar")


def test_every_option_has_one_flag() -> None:
    found = [(flag, dest(name, own)) for name in names()
             for own, flag, *_ in flags(get_strategy(name))]
    assert len({flag for flag, _ in found}) == len({d for _, d in found}) == len(found) > 20
    own = {known.name: known for known in options_of(get_strategy("toprovar"))}
    for name, values in (("dimensions", Dimensions), ("rule", Rule), ("dropped", Way),
                         ("resize", Resize), ("normalization", Normalization)):
        assert own[name].choices == get_args(values), name
    assert (own["alpha_max"].low, own["alpha_max"].high) == (0, 1)


@pytest.mark.parametrize("name", names())
def test_help_says_what_is_taken_where_nothing_is_given(name: str) -> None:
    for known in options_of(get_strategy(name)):
        told = "(default" in known.option.help or known.default is not None or known.option.unset
        assert told or known.flag is None, known.name
        assert known.default is not None or known.option.node_unset is not None \
            or not known.option.node, f"{known.name}: the node has no value for None"


class Bare(Settings):
    knob: int = 1


class Odd(Settings):
    knob: Annotated[dict[str, int], Option("of a kind that has no input")] = Field(
        default_factory=dict)


def test_a_fit_that_cannot_be_shown_is_refused() -> None:
    fit = Fit("x", "x", lambda own: True, Bare)
    kind: Any = type("Made", (Strategy,), {"name": "made", "summary": "x", "fit": fit})
    with pytest.raises(TypeError, match="Bare: the setting knob has no Option"):
        check_strategy(kind())


@pytest.mark.parametrize(("name", "settings", "wrong"), [
    ("Loud", Settings, "a strategy's name is lower-case"),
    ("bare", Bare, "bare: the setting knob has no Option"),
    ("odd", Odd, "odd: the setting knob is of a kind"),
])
def test_a_strategy_that_cannot_be_shown_is_refused(
    name: str, settings: type[Settings], wrong: str
) -> None:
    kind: Any = type("Made", (Strategy,), {"name": name, "summary": "x", "settings": settings})
    with pytest.raises(TypeError, match=wrong):
        check_strategy(kind())


class Bounded(Settings):
    knob: Annotated[float, Option("a share")] = Field(default=0.5, ge=0, le=1)


class Counted(Strategy[Bounded]):
    name: ClassVar[str] = "counted"
    summary: ClassVar[str] = "for the test"
    settings: ClassVar[type[Settings]] = Bounded


def test_faults_are_told_by_the_name_that_the_user_knows() -> None:
    with pytest.raises(ValueError, match=r"^--counted-knob must be between 0 and 1, got 2$"):
        settings_of(Counted(), {"knob": 2}, {"knob": "--counted-knob"})
