"""Workflows in API form that draft, vary, inpaint and edit."""

from __future__ import annotations

from typing import Any

from tests.comfyui.workflows import Prompt, model_and_text, node, own, planner, quick_start

DRAFT = {
    "seed": 7, "images": 3, "until": 8, "aspect": "1:1", "pixels": "0.06M", "cfg": 0.0, "tau": 0.0,
    "top_p": 0.97, "preview": "off",
}
PAINT = {
    "seed": 7, "images": 1, "denoise": 1.0, "pixels": "0.06M", "blend": 16, "cfg": 0.0, "tau": 0.0,
    "top_p": 0.97, "preview": "off",
}
INPAINT = {**PAINT, "feather": 0, "crop_padding": -1}
EDIT = {
    **PAINT, "source_prompt": "a red apple", "target_prompt": "a blue apple", "away": 0.5,
    "mask_from": "likelihood", "mask_share": 0.0,
}
ENCODE = {"pixels": "0.06M", "fit": "crop"}
FINISH = {"which": "all", "pixels": "the drafts' own", "preview": "off"}
DENSE = {"strategy": "dense"}


def saved(images: list[Any], prefix: str = "saved") -> dict[str, Any]:
    return node("SaveImage", images=images, filename_prefix=prefix)


def draft(**changes: Any) -> dict[str, Any]:
    return own("Draft", **({**DRAFT, "model": ["load", 0], "conditioning": ["text", 0]} | changes))


def finish(**changes: Any) -> dict[str, Any]:
    return own("FinishDrafts", **(
        {**FINISH, "model": ["load", 0], "drafts": ["draft", 0]} | changes))


def drafted(text: str = "a red apple", plan: dict[str, Any] | None = None, **changes: Any
            ) -> Prompt:
    """Drafts of a plan, dense unless said otherwise, as "draft"."""
    prompt = model_and_text(text)
    prompt["plan"] = planner(**(plan or DENSE))
    return {**prompt, "draft": draft(plan=["plan", 0], **changes)}


def drawn(**changes: Any) -> Prompt:
    """A dense run, saved as "save"."""
    prompt = quick_start(**({"preview": "off", "plan": ["plan", 0]} | changes))
    return {**prompt, "plan": planner(**DENSE)}


def changed(text: str = "a blue car", **changes: Any) -> Prompt:
    """The picture of ``drawn``, and a sampler "again" behind it with another prompt."""
    prompt = drawn()
    prompt["words"] = own("TextEncode", text_encoder=["load", 1], text=text, prompt_per_line=False)
    sample = {**prompt["sample"]["inputs"], "conditioning": ["words", 0], "seed": 11,
              "pixels": "auto", "latent_image": ["sample", 1], **changes}
    prompt["again"] = own("Sampler", **sample)
    prompt["out"] = saved(["again", 0], "again")
    return prompt


def rectangle(x: int, y: int, width: int, height: int, size: int = 256) -> Prompt:
    """Nodes that make a mask, "mask", white in one place."""
    return {
        "black": node("SolidMask", value=0.0, width=size, height=size),
        "white": node("SolidMask", value=1.0, width=width, height=height),
        "mask": node("MaskComposite", destination=["black", 0], source=["white", 0], x=x, y=y,
                     operation="add"),
    }


def inpainted(**changes: Any) -> Prompt:
    """The picture of ``drawn``, of which a square is drawn anew, saved as "out"."""
    prompt = {**drawn(), **rectangle(64, 96, 96, 64)}
    prompt["words"] = own("TextEncode", text_encoder=["load", 1], text="a blue car",
                          prompt_per_line=False)
    prompt["paint"] = own("Inpaint", **({
        **INPAINT, "model": ["load", 0], "conditioning": ["words", 0], "image": ["sample", 0],
        "mask": ["mask", 0], "plan": ["plan", 0]} | changes))
    prompt["out"] = saved(["paint", 0], "painted")
    return prompt


def edited(**changes: Any) -> Prompt:
    """The picture of ``drawn``, changed by words, saved as "out"."""
    prompt = drawn()
    prompt["edit"] = own("Edit", **({
        **EDIT, "model": ["load", 0], "image": ["sample", 0], "plan": ["plan", 0]} | changes))
    prompt["out"] = saved(["edit", 0], "edited")
    return prompt


def encoded(**changes: Any) -> dict[str, Any]:
    return own("Encode", **({**ENCODE, "model": ["load", 0]} | changes))
