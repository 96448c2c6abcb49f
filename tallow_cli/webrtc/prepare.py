"""Where a link over WebRTC begins. Importing this is cheap; aiortc takes a quarter of a second and is imported by the
first call.
"""

from __future__ import annotations

from tallow_cli.link.link import GatheredLink, LinkOptions, LinkRole
from tallow_cli.webrtc.engines import EngineOptions, make_engine


async def prepare(role: LinkRole, options: LinkOptions) -> GatheredLink:
    """This machine's end of a link, its addresses gathered; see `link.link.PrepareLink`.

    Raises BadOption for an unknown engine, UnfitLibrary for an aiortc that no engine can use.
    """
    engine = make_engine(options.engine, EngineOptions(offload=options.offload, trace=options.trace))
    from tallow_cli.webrtc.gathered import gather

    return await gather(role, options, engine)
