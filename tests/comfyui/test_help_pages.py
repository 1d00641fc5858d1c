"""Help pages: every node has one in English and one in Chinese, which name its inputs and outputs.

ComfyUI looks for ``docs/NODE/LOCALE.md`` and then, in any language, for ``docs/NODE.md``.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.comfyui.client import Client
from tests.comfyui.server import ROOT
from tests.comfyui.test_pack import IDS

PAGES = ROOT / "web" / "docs"
LANGUAGES = ("en", "zh")
BOLD = r"\*\*([^*\n]+)\*\*"
CHINESE_NAME = re.compile(rf"{BOLD}（([^（），]+)(?:，高级)?）")
HEADS = {"en": ("Inputs", "Outputs"), "zh": ("输入", "输出")}
TERMS = ("令牌", "标记", "词元", "种子值", "掩码", "蒙版", "噪声遮罩", "潜空间")
"""Other words for what the sampler's Chinese page calls token, 种子, 遮罩, 噪波遮罩, latent."""


def page(language: str, node: str) -> str:
    path = PAGES / f"{node}.md" if language == "en" else PAGES / node / f"{language}.md"
    return path.read_text("utf-8")


def words(language: str) -> dict[str, Any]:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text("utf-8"))


def items(text: str, head: str) -> list[str]:
    """Items of the lists beneath a heading, without those within them."""
    (part,) = re.findall(rf"^## {head}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return re.findall(r"^- (.*?)(?=^- |^\n|\Z)", part, re.M | re.S)


def plain(inputs: dict[str, Any]) -> dict[str, str]:
    """Inputs with their names, without the second entries for servers with dynamic inputs:
    GROUP_MEMBER beside MEMBER."""
    return {key: about["name"] for key, about in inputs.items() if key != "reports"
            and not any(key == f"{group}_{member}" for group in inputs for member in inputs)}


def named(item: str) -> list[str]:
    """Names at the beginning of an item, up to its colon."""
    found = re.match(rf"(?:{BOLD}(?:（[^）]*）)?[,、 ]*)+", item)
    return re.findall(BOLD, found[0]) if found else []


@pytest.mark.parametrize("node", sorted(IDS))
def test_every_node_has_a_page_in_both_languages(node: str) -> None:
    for language in LANGUAGES:
        text = page(language, node)
        title = words(language)[node]["display_name"]
        heading = text.splitlines()[0]
        assert heading == f"# {title.removesuffix(' (fast)').removesuffix('（fast）')}", language


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node", sorted(IDS))
def test_pages_name_every_input_and_no_other(node: str, language: str) -> None:
    text, known = page(language, node), plain(words(language)[node]["inputs"])
    said = set(re.findall(BOLD, text))
    assert {name for name in known.values() if name not in said} == set()
    for item in items(text, HEADS[language][0]):
        assert {*named(item)} <= {*known.values()}, item
    if language == "zh":
        outputs = {entry["name"] for entry in words("zh")[node]["outputs"].values()}
        for name, key in CHINESE_NAME.findall(text):
            assert known.get(key) == name or name in outputs, (name, key)
        assert {key for _, key in CHINESE_NAME.findall(text)} >= known.keys()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node", sorted(IDS))
def test_pages_name_every_output_and_no_other(node: str, language: str) -> None:
    outputs = [entry["name"] for entry in words(language)[node]["outputs"].values()]
    found = [name for item in items(page(language, node), HEADS[language][1])
             for name in named(item)]
    assert found == outputs


@pytest.mark.parametrize("node", sorted(IDS))
def test_both_languages_have_the_same_code_and_figures(node: str) -> None:
    english, chinese = page("en", node), page("zh", node)
    for what in (r"```.*?```", r"(?<![\w.])\d+(?:\.\d+|\d)(?!\w)"):
        found = [set(re.findall(what, text, re.S)) for text in (english, chinese)]
        assert found[0] == found[1]


def test_one_chinese_word_for_each_term() -> None:
    for node in IDS:
        text = page("zh", node) + json.dumps(words("zh")[node], ensure_ascii=False)
        assert [term for term in TERMS if term in text] == [], node


def test_pages_are_found_the_way_the_browser_looks(client: Client) -> None:
    for node in IDS:
        base = f"/extensions/ComfyUI-ToProVAR/docs/{node}"
        assert client.get(f"{base}/zh.md").decode() == page("zh", node)
        assert client.get(f"{base}.md").decode() == page("en", node)
