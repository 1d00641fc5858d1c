"""Requests, answers and their addresses."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

Handler = Callable[[Request], Awaitable[Response]]

class Request:
    async def json(self) -> Any: ...

class Response: ...

class RouteTableDef:
    def __iter__(self) -> Iterator[object]: ...
    def post(self, path: str) -> Callable[[Handler], Handler]: ...

def json_response(data: Any = ..., *, status: int = ...) -> Response: ...
