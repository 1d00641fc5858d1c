"""What the pack uses of ComfyUI's server."""

from aiohttp import web

class PromptServer:
    routes: web.RouteTableDef
