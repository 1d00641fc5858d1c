"""``python -m docs_tools``: write the generated parts of the reference pages, or compare them."""

from __future__ import annotations

import argparse
import difflib
import sys

from .pages import DOCS, PAGES, made, path_of


def main() -> int:
    """0 = the pages are current, or were written; 1 = ``--check`` found one that is not."""
    parser = argparse.ArgumentParser(prog="python -m docs_tools", description=__doc__)
    parser.add_argument("--check", action="store_true",
                        help="write nothing; show what differs, exit with 1 if anything does")
    check = parser.parse_args().check
    stale = 0
    for name in PAGES:
        path = path_of(name)
        told = f"docs/{path.relative_to(DOCS).as_posix()}"
        before = path.read_text("utf-8")
        after = made(name, before)
        if before == after:
            continue
        stale += 1
        if check:
            sys.stdout.writelines(difflib.unified_diff(
                before.splitlines(True), after.splitlines(True), told,
                "as the code has it", n=1))
        else:
            path.write_text(after, "utf-8", newline="\n")
            print(f"wrote {told}")
    if check and stale:
        print(f"\n{stale} of {len(PAGES)} pages are not current: run 'python -m docs_tools'")
        return 1
    return 0


sys.exit(main())
