"""All of an app's rental operations; the fixed paths come before `/{rental_id}`."""

from api.rentals import about, care, endpoints, life, receipts, reservations

ROUTERS = (reservations.router, life.router, about.router, care.router, receipts.router, endpoints.router)
