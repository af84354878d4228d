"""All that is under /payment."""

from api.payments import endpoints, invoices, methods

ROUTERS = tuple(part.router for part in (endpoints, methods, invoices))
