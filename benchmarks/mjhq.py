"""MJHQ-30K: FID to 30,000 pictures of ten categories.

    python -m benchmarks.mjhq write meta_data.json OUT --plan toprovar --budget 0.3
    python -m benchmarks.mjhq read OUT --json mjhq.json

Formats, from https://huggingface.co/datasets/playgroundai/MJHQ-30K (README.md): ``meta_data.json``
is an object of {id: {"category", "prompt"}}; reference pictures are ``CATEGORY/ID.jpg``, and FID is
that of clean-fid (https://github.com/GaParmar/clean-fid) at 1024 x 1024, over all and by category.
clean-fid takes pictures of all folders below the one it is given. It returns its figure to Python
and writes no file: the command that ``write`` prints leaves one, a JSON object as its last line.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from benchmarks.scorer.base import Benchmark, Item, Manifest, Score, check_items, read_json
from benchmarks.scorer.main import main

CALL = (
    "import json, sys; from cleanfid import fid; ref, own, *names = sys.argv[1:]; "
    "print(json.dumps({n: fid.compute_fid(*(d if n == 'overall' else d + '/' + n "
    "for d in (ref, own))) for n in ['overall', *names]}))"
)


class MJHQ(Benchmark):
    name, title, images = "mjhq", "MJHQ-30K FID", 1
    most, better = 1, "lower"

    def items(self, prompts: Path) -> list[Item]:
        found = read_json(prompts)
        if not isinstance(found, dict) or not all(
            isinstance(a, dict) and isinstance(a.get("prompt"), str)
            and isinstance(a.get("category"), str) for a in found.values()
        ):
            raise ValueError(f"{prompts}: expected an object {{id: {{\"category\", \"prompt\"}}}}")
        return check_items([Item(f"{about['category']}/{name}", about["prompt"])
                            for name, about in found.items()], prompts)

    def paths(self, name: str, images: int) -> list[str]:
        return [f"{name}.png"]

    def how(self, out: Path, manifest: Manifest) -> str:
        own = shlex.quote(str(out / "images" / manifest.method))
        scores = shlex.quote(str(self.score_file(out, manifest.method)))
        return (f"python -c {shlex.quote(CALL)} REFERENCE {own} {' '.join(_categories(manifest))} "
                f"> {scores}")

    def read(self, file: Path, manifest: Manifest) -> dict[str, Score]:
        try:
            found = json.loads(file.read_text("utf-8").strip().splitlines()[-1])
        except (ValueError, IndexError):
            found = None
        wanted = [*_categories(manifest), "overall"]
        if not isinstance(found, dict):
            raise ValueError(f"{file}: its last line is no JSON object")
        lacking = [name for name in wanted if not isinstance(found.get(name), (int, float))]
        if lacking:
            raise ValueError(f"{file}: no FID of {', '.join(lacking)}")
        return {name: Score(float(found[name])) for name in wanted}


def _categories(manifest: Manifest) -> list[str]:
    return sorted({name.split("/")[0] for name in manifest.items})


if __name__ == "__main__":
    raise SystemExit(main(MJHQ()))
