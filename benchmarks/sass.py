"""What the machine code of a kernel does with registers that did not fit.

A value kept on the stack across a loop costs two accesses a program; one that is fetched inside the
loop costs them every time around. The assembler's count of spilled bytes does not tell them apart.
"""

from __future__ import annotations

import re

_LINE = re.compile(r"^\s+/\*([0-9a-f]+)\*/\s+(.*?);")
_BRANCH = re.compile(r"\bBRA\b.*?(0x[0-9a-f]+)")


def stack_accesses_in_loops(sass: str) -> int:
    """Loads from and stores to the stack between the target of a jump back and the jump.

    Args:
        sass: as cuobjdump -sass prints it, with addresses as targets of jumps.
    """
    code = [(int(found[1], 16), found[2]) for found in map(_LINE.match, sass.splitlines()) if found]
    loops = []
    for address, text in code:
        jump = _BRANCH.search(text)
        if jump and int(jump[1], 16) < address:
            loops.append((int(jump[1], 16), address))
    return sum(1 for address, text in code if re.search(r"\b(LDL|STL)\b", text)
               and any(start <= address <= end for start, end in loops))
