"""All of an app's rental operations; the fixed paths come before `/{rental_id}`."""

from api.rentals import about, care, endpoints, life, photos, receipts, reservations

ROUTERS = (
    reservations.router,
    life.router,
    about.router,
    care.router,
    photos.router,
    receipts.router,
    endpoints.router,
)
