"""What the pack's widgets ask the server for.

The type checker, which runs without ComfyUI, knows its server's library by the declarations in
``typings/``.
"""

# pyright: reportMissingModuleSource=false

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .host import prompt_server

if TYPE_CHECKING:
    from aiohttp import web

PLAN_COST = "/toprovar/plan_cost"


def register_routes() -> None:
    """Add the pack's addresses to ComfyUI's server, if there is one; harmless when repeated."""
    server = prompt_server()
    if server is None:
        return
    from aiohttp import web

    if any(getattr(route, "path", None) == PLAN_COST for route in server.routes):
        return

    @server.routes.post(PLAN_COST)
    async def plan_cost(request: web.Request) -> web.Response:
        """{"flop_share": ...} of an edited plan, or {"error": in words}."""
        from ...toprovar.edited_cost import edited_flop_share

        try:
            asked: Any = await request.json()
            share = await asyncio.to_thread(edited_flop_share, asked)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"flop_share": share})
