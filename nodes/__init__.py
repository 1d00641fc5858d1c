"""The nodes: thin, they unpack inputs, call the engine and pack outputs."""

from __future__ import annotations

from .accelerated_sampler import AcceleratedSampler
from .calibrate_infinity import CalibrateInfinity
from .compare_runs import CompareRuns
from .entropy_analyzer import EntropyAnalyzer
from .finish_drafts import FinishDrafts
from .infinity_draft import InfinityDraft
from .infinity_edit import InfinityEdit
from .infinity_encode import InfinityEncode
from .infinity_inpaint import InfinityInpaint
from .infinity_instruct import InfinityInstruct
from .infinity_size import InfinitySize
from .load_draft import LoadDraft
from .load_infinity import LoadInfinity
from .load_plan import LoadPlan
from .prompts_from_file import PromptsFromFile
from .save_draft import SaveDraft
from .save_plan import SavePlan
from .sparsity_planner import SparsityPlanner
from .support.files import register_folder
from .support.host import ComfyExtension, io
from .support.routes import register_routes
from .text_encode import TextEncode

NODES: list[type[io.ComfyNode]] = [
    LoadInfinity, TextEncode, AcceleratedSampler, InfinitySize, SparsityPlanner, EntropyAnalyzer,
    CompareRuns, SavePlan, LoadPlan, CalibrateInfinity, InfinityDraft, FinishDrafts, SaveDraft,
    LoadDraft, InfinityEncode, InfinityInpaint, InfinityEdit,
    InfinityInstruct, PromptsFromFile,
]


class ToProVarExtension(ComfyExtension):
    """What ComfyUI asks for at start."""

    async def on_load(self) -> None:
        register_folder()
        register_routes()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        register_folder()  # versions before on_load was called
        register_routes()
        return NODES
