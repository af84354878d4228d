"""Which tasks hear of which event. An event that is not here has no consumer and is settled as soon as it is seen."""

ROUTES: dict[str, tuple[str, ...]] = {}
