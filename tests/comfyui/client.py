"""A ComfyUI client: HTTP, and the websocket that the browser listens to. Standard library only."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

PREVIEW = 1
"""Type of a binary message with a preview."""
TEXT = 3
"""Of one with a text."""


@dataclass
class Outcome:
    """What a queued prompt gave.

    Attributes:
        status: "success", "error" or "interrupted".
        messages: everything said over the websocket, (type, data), binary ones as "preview".
        outputs: what each node showed.
        cached: nodes that were not run again.
    """

    prompt_id: str
    status: str = ""
    messages: list[tuple[str, Any]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    cached: list[str] = field(default_factory=list)
    error: dict[str, Any] = field(default_factory=dict)

    @property
    def executed(self) -> list[str]:
        """Nodes that were run, in order."""
        return [data["node"] for kind, data in self.messages
                if kind == "executing" and data["node"] is not None]

    def progress(self, node: str) -> list[tuple[int, int]]:
        """(value, maximum) as a node's bar went."""
        return [(data["value"], data["max"]) for kind, data in self.messages
                if kind == "progress" and data["node"] == node]

    @property
    def said(self) -> list[str]:
        """Texts that nodes showed while they ran."""
        return [data[8 + int.from_bytes(data[4:8], "big"):].decode()
                for kind, data in self.messages if kind == f"binary {TEXT}"]

    @property
    def previews(self) -> list[bytes]:
        """JPEG files."""
        return [data for kind, data in self.messages if kind == "preview"]


class RefusedError(Exception):
    """The server did not queue the prompt.

    Attributes:
        answer: its JSON, with node_errors.
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(json.dumps(answer)[:2000])
        self.answer = answer

    def text(self, node: str) -> str:
        """All that is said of a node."""
        errors = self.answer["node_errors"][node]["errors"]
        return " ".join(f"{e['message']} {e['details']}" for e in errors)


class Client:
    """Attributes:
        id: by which the server knows this client."""

    def __init__(self, url: str) -> None:
        self.url, self.id = url, uuid.uuid4().hex
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Client:
        place = urllib.parse.urlsplit(self.url)
        assert place.hostname and place.port
        self._socket = socket.create_connection((place.hostname, place.port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall((
            f"GET /ws?clientId={self.id} HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket"
            f"\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n").encode())
        self._stream = self._socket.makefile("rb")
        status = self._stream.readline()
        assert b"101" in status, status
        while self._stream.readline().strip():
            pass
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stream.close()
        self._socket.close()

    def get(self, path: str) -> bytes:
        with self._opener.open(self.url + path, timeout=60) as reply:
            return reply.read()

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def post(self, path: str, values: Any) -> bytes:
        request = urllib.request.Request(self.url + path, json.dumps(values).encode(),
                                         {"Content-Type": "application/json"})
        with self._opener.open(request, timeout=60) as reply:
            return reply.read()

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue a workflow in API form; the prompt's id.

        Raises:
            RefusedError: nothing or not all of it was queued.
        """
        try:
            answer = json.loads(self.post("/prompt", {"prompt": prompt, "client_id": self.id}))
        except urllib.error.HTTPError as error:
            raise RefusedError(json.loads(error.read())) from None
        if answer.get("node_errors"):
            raise RefusedError(answer)
        return answer["prompt_id"]

    def wait(self, prompt_id: str, interrupt_at: int = 0) -> Outcome:
        """Listen until a prompt is done.

        Args:
            interrupt_at: ask to stop when a bar reaches this value or more; 0 = never.
        """
        outcome = Outcome(prompt_id)
        deadline, asked = time.monotonic() + 120, False
        while time.monotonic() < deadline:
            kind, data = self._message()
            outcome.messages.append((kind, data))
            if kind == "preview" or not isinstance(data, dict) \
                    or data.get("prompt_id", prompt_id) != prompt_id:
                continue
            if kind == "progress" and data["value"] >= interrupt_at > 0 and not asked:
                asked = True
                self.post("/interrupt", {})
            elif kind == "executed":
                outcome.outputs[data["node"]] = data["output"]
            elif kind == "execution_cached":
                outcome.cached = list(data["nodes"])
            elif kind in ("execution_error", "execution_interrupted"):
                outcome.error = data
                outcome.status = kind.removeprefix("execution_")
            elif kind == "execution_success":
                outcome.status = "success"
            elif kind == "executing" and data["node"] is None:
                return outcome
            if outcome.status in ("error", "interrupted"):
                return outcome
        raise TimeoutError(f"prompt {prompt_id} was not done in time: {outcome.messages[-3:]}")

    def run(self, prompt: dict[str, Any]) -> Outcome:
        """Queue a workflow and wait for its success."""
        outcome = self.wait(self.queue(prompt))
        assert outcome.status == "success", outcome.error
        return outcome

    def picture(self, image: dict[str, str]) -> bytes:
        """The file of an entry of ``images``."""
        return self.get("/view?" + urllib.parse.urlencode(image))

    def _message(self) -> tuple[str, Any]:
        """The next one: its type and data."""
        kind, payload = self._frame()
        if kind == 1:
            message = json.loads(payload)
            return message["type"], message["data"]
        event, _form = struct.unpack(">II", payload[:8])
        return ("preview", payload[8:]) if event == PREVIEW else (f"binary {event}", payload)

    def _frame(self) -> tuple[int, bytes]:
        """(opcode, payload) of the next message; pings are skipped."""
        opcode, whole = 0, b""
        while True:
            first, second = self._exactly(2)
            length = second & 127
            if length >= 126:
                size = 2 if length == 126 else 8
                length = int.from_bytes(self._exactly(size), "big")
            payload = self._exactly(length)
            code = first & 15
            if code == 8:
                raise ConnectionError("the server closed the websocket")
            if code in (9, 10):
                continue
            opcode, whole = code or opcode, whole + payload
            if first & 128:
                return opcode, whole

    def _exactly(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) != count:
            raise ConnectionError("the websocket ended")
        return data
