"""Relink cabinets: binary frames over one TCP connection, in two generations that share a header and little else.

Pure codec. `framing` cuts a byte stream into frames, `packet` opens and closes one, `up` and `down` are what cabinet
and backend say, `codec` maps between them by generation, `describe` is for people's tools. No frame has an id: a reply
is told by its command only, so that at most one command may be outstanding per cabinet.
"""
