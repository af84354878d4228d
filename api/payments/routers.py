"""All that is under /payment."""

from api.payments import debts, endpoints, invoices, methods, refunds, withdrawals

ROUTERS = tuple(part.router for part in (endpoints, methods, debts, refunds, withdrawals, invoices))
