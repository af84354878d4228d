"""Volinks (YBT / Besiter) cabinets: binary frames over MQTT up, JSON commands down, HTTP calls beside them.

Pure codec. `codec` reads and writes whole frames, `frames` and `commands` are what they say, `codes` what their state
bytes mean, `layout` how an inventory is cut into boards, `describe` how people's tools show a frame.
"""
