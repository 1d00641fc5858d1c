"""Values among ComfyUI's files: saved to its output folder, read from there or from its input."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from .host import folder_paths


@dataclass(frozen=True)
class Shelf:
    """Files of one kind.

    Attributes:
        kind: for messages, such as "plan".
        folder: within ComfyUI's output and input folders.
        endings: of the files, the first is that of new ones.
        saver: the node that writes them.
    """

    kind: str
    folder: str
    endings: tuple[str, ...]
    saver: str

    @property
    def none(self) -> str:
        """What a node offers where there are no files."""
        return f"(no {self.kind} yet)"

    def files(self) -> dict[str, Path]:
        """What can be chosen, "plans/x.json [output]" -> path, newest first."""
        found: list[tuple[float, str, Path]] = []
        for tag, root in (("output", folder_paths.get_output_directory()),
                          ("input", folder_paths.get_input_directory())):
            base = Path(root)
            for path in (base / self.folder).rglob("*"):
                if path.suffix.lower() in self.endings and path.is_file():
                    label = f"{path.relative_to(base).as_posix()} [{tag}]"
                    found.append((-path.stat().st_mtime, label, path))
        return {label: path for _, label, path in sorted(found)}

    def choice_error(self, file: str | None) -> str | None:
        """What is wrong with the choice of a file, in words; None if nothing is."""
        known = self.files()
        if file is None or file in known:  # None: it comes over a link
            return None
        where = f"the folder {self.folder} of ComfyUI's output or input folder"
        if not known:
            return (f"there is no {self.kind} in {where}: make one with {self.saver}, or copy one "
                    "there")
        return (f"there is no {self.kind} {file!r} in {where} (any more): choose one of "
                f"{', '.join(known)}")

    def path(self, file: str) -> Path:
        """The file that was chosen.

        Raises:
            ValueError: it has gone.
        """
        found = self.files().get(file)
        if found is None:
            raise ValueError(f"the {self.kind} {file!r} is not there any more: choose another")
        return found

    def prefix_error(self, prefix: str) -> str | None:
        """What is wrong with a file name prefix, in words; None if nothing is."""
        example = f"{self.folder}/{self.kind}"
        parts = Path(prefix.replace("\\", "/")).parts
        if not prefix.strip() or prefix.endswith(("/", "\\")):
            return f"filename_prefix is empty: give a name such as {example}"
        if Path(prefix).is_absolute() or ".." in parts or ":" in prefix:
            return (f"filename_prefix must stay inside ComfyUI's output folder, got {prefix!r}: "
                    f"use a name such as {example}")
        return None

    def next_path(self, prefix: str, ending: str | None = None) -> tuple[Path, str]:
        """The file that comes next in the output folder, and its name there.

        Args:
            ending: None = the usual one.

        Raises:
            ValueError: the prefix is none.
        """
        if wrong := self.prefix_error(prefix):  # may have come over a link
            raise ValueError(wrong)
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            prefix, folder_paths.get_output_directory()
        )
        file = f"{name}_{counter:05}_{ending or self.endings[0]}"
        return Path(folder) / file, (Path(subfolder) / file).as_posix()

    def digest(self, file: str) -> str:
        """Changes when the file does."""
        found = self.files().get(file)
        return hashlib.sha256(found.read_bytes()).hexdigest() if found else ""


PLANS = Shelf("plan", "plans", (".json",), "Save Plan")
DRAFTS = Shelf("draft", "drafts", (".png", ".safetensors"), "Save Draft")
