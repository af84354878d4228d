"""All that is under /payment."""

from api.payments import debts, endpoints, invoices, methods, payout_accounts, refunds, transactions, withdrawals

ROUTERS = tuple(
    part.router for part in (endpoints, transactions, methods, debts, refunds, payout_accounts, withdrawals, invoices)
)
