"""Draw the prompts of a CSV file.

Writes a small CSV file, draws its rows and adds a line to a manifest for each. Run it again and
nothing is drawn twice: a batch that was stopped goes on where it ended. Every picture carries what
it was made with, so one of them is then drawn again from its file alone. Writes the table, the
pictures and manifest.jsonl. Prints the rows and whether the picture came out the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image

from toprovar import SparsityPlan, get_schedule, load_pipeline, read_parameters
from toprovar.batch import Batch, ModelSource, Settings, read_rows

TABLE = """prompt,seed,plan,name,album
a red apple on a yellow background,1,,apple,fruit
a banana and a strawberry,2,toprovar,two-fruits,fruit
three purple birds,3,,birds,animals
"""


def main(out: Path, model: str | None, size: int | None) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "prompts.csv").write_text(TABLE, "utf-8")
    settings = Settings(size=None if size is None else (size, size))
    pipe = load_pipeline(model)
    batch = Batch(read_rows(out / "prompts.csv"), out / "pictures", settings, ModelSource(model))
    done = batch.run(pipeline=pipe)
    print(f"{done.drawn} pictures, {done.new} of them new, {done.failed} failed")
    for line in (out / "pictures" / "manifest.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        print(f"  {row['file']}: {row['prompt']}")

    path = out / "pictures" / "two-fruits.png"
    made = read_parameters(path)
    params, plan = made["params"], made.get("sparsity_plan")
    again = pipe(made["prompt"], seed=made["seed"], guidance_scale=params["cfg"],
                 tau=params["tau"], prompt_weights=made["prompt_weights"],
                 schedule=get_schedule(params["schedule"]["template"], params["schedule"]["pn"]),
                 plan=None if plan is None else SparsityPlan.model_validate(plan)).images[0]
    same = again.tobytes() == Image.open(path).tobytes()
    print(f"{path.name} drawn again: {'the same' if same else 'another'} picture")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out/many_prompts"),
                        help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", metavar="DIR", help="folder of a converted model (default: the "
                        "one that comes with ToProVAR)")
    parser.add_argument("--size", metavar="PIXELS", type=int,
                        help="side of the pictures (default: the model's own)")
    main(**vars(parser.parse_args()))
