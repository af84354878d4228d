"""All that is under /payment."""

from api.payments import endpoints, invoices, methods, refunds, withdrawals

ROUTERS = tuple(part.router for part in (endpoints, methods, refunds, withdrawals, invoices))
