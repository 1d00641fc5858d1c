"""The sentences of the GPU benchmark's page: what each table shows and how to read it."""

from __future__ import annotations

from benchmarks.gpu.user import STEADY

INTRO = """\
# GPU benchmark

This page has every table of `python -m benchmarks.gpu`, for readers of [gpu.md](../gpu.md) who
want all rows. `python -m benchmarks.gpu report` writes it from [gpu.json](gpu.json), so do not
edit it by hand. [benchmarks/README.md](../../../benchmarks/README.md) says how each figure is
measured.

Weights are random. So the times are those of the shapes, and nothing here says anything about
pictures. *Wall* is the time by the clock. *Busy* is the time in which at least one kernel, copy
or fill ran on the GPU.

In the picture, the bars on the left are times from prompt to picture (shorter is better). The
upper right panel has the time of each stage, and the lower right panel has pictures a second by
how many are drawn at once.

![times](gpu.png)

## The runs

Ratios are always of contenders in the same run. Each run has its date, machine, versions and
command.
"""

AIMS = """\
The aims were set before the measurements, for one H100 at 1024 px. Each row is an aim; *met* says
whether the measured time is within it.
"""

ROWS = """\
The names of rows mean:

- *official* is a transcription of the official program. *dense* is our engine with nothing left
  out.
- *eager* runs step by step, and *graphs* replays recorded CUDA graphs. *Plain blocks* are blocks
  without fused kernels. A *narrow residual* is a residual stream in bfloat16.
- A *preset* is ToProVAR on a share of the tokens (20 % in "preset 20 %") in three quarters of the
  layers, from the fourth scale from the end on. Dropped tokens get the update of an earlier scale
  (*cached*) or none (*identity*).
- *Late guidance off* means that the last two scales run without guidance.
- *exit* is ToProVAR whose dropped tokens leave the last two scales.
- A *shortcut* leaves out the first three quarters of the layers and predicts their result.
- *scale alone*, *token alone*, *layer alone* and *guidance alone* each use one dimension of
  ToProVAR.
"""

SPEED = """\
Each row is a program or a plan. *Times as fast* is the time of dense, or of the official program,
over the time of the row: above 1 is faster. *First picture* includes all that is compiled or
recorded for it. The last column compares the time of the scales with the least time that the
hardware would allow; 100 % would be perfect.
"""

ENGINE = (
    "The engine that ran: {engine}. Ratios of wall time to dense are of runs in turn. Ratios to "
    "the official program are of the medians of one process.\n")

STAGES = """\
Each row is a stage of a picture, each column a program or plan. A cell is the time in ms and, in
brackets, the least time that the hardware would allow as a share of it.
"""

KERNELS = """\
Each row is a program or plan; the columns are the GPU's time in ms by kind of kernel, and the
number of launches. *gemm* is matrix products.
"""

USERS = f"""\
These pictures are drawn as a user draws them: default settings, a new prompt and a new seed each
time, one after the other, from prompt to picture. The first table has the aims. In the others,
each row is what the user sets:

- *First picture* is how many seconds the first one takes more than a warm eager dense one.
- *Steady* is the median of the pictures from number {STEADY + 1} on.
- *Dense beside it* are dense pictures right after them, and *time over dense* is the ratio: below
  1 is faster.
- *Work* is the share of a dense run's FLOPs.
- *Scales replayed* says how many scales came from recordings, of those that ran.
- *Launches* are those by the host.
"""

FIRST = """\
Each row is a start of the program in a process of its own, with no plan connected. Kernels that
Triton's cache on disk does not hold are compiled ahead, several at a time, unless the row says
otherwise. The first table has the aim.
"""

BATCHES = """\
Each row is a plan, each column how many pictures are drawn at once. Cells are pictures a second;
higher is better.
"""

OVERHEAD = """\
Each row is a kind of decision: *planning* inside the run, or *choosing* which tokens stay. The
cells are the time that it adds, as a share of the scale loop's wall time and of its GPU busy
time. The aim is at most {aim:.0%} of wall time.
"""

CORRECTNESS = """\
Fast ways must compute the same. In float32, the GPU is compared with the CPU, and recorded scales
with eager ones. In half precision, the engine is compared with float32 under the same bits.
"""

MEMORY = """\
One picture from encoded text, with the text encoder away. Each row is a set of options. Logits
and greedy bits are compared with the first row, under the same forced bits. Weights are random.
Less time and memory are better, and more equal bits.
"""
