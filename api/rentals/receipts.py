"""Receipts of rentals, for programs and for people."""

from uuid import UUID

from fastapi import Response

from api.auth import CurrentUser
from api.deps import Now, RuntimeDep, SessionDep
from api.problems import problems
from api.rentals.care_schemas import ReceiptOut
from api.v1 import area
from fleet.rentals.records.receipt_pdf import render
from fleet.rentals.records.receipts import receipt

router = area("rental", "rentals")
_PDF = "application/pdf"


@router.get(
    "/{rental_id}/receipt", operation_id="rental_receipt", summary="What a rental cost, why, and what was paid",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def get_receipt(rental_id: UUID, session: SessionDep, runtime: RuntimeDep, user: CurrentUser, now: Now) -> ReceiptOut:
    """Of a rental that is over. It follows later corrections."""
    return ReceiptOut.of(receipt(session, user.id, rental_id, issuer=runtime.settings.receipt_issuer, now=now))


@router.get(
    "/{rental_id}/receipt.pdf",
    operation_id="rental_receipt_pdf",
    summary="The receipt as a PDF page",
    response_class=Response,
    responses={**problems(401, 403, 404, 409), 200: {"content": {_PDF: {"schema": {"type": "string"}}}}},
)
def get_receipt_pdf(rental_id: UUID, session: SessionDep, runtime: RuntimeDep, user: CurrentUser, now: Now) -> Response:
    settings = runtime.settings
    found = receipt(session, user.id, rental_id, issuer=settings.receipt_issuer, now=now)
    headers = {"Content-Disposition": f'inline; filename="receipt-{rental_id}.pdf"', "Cache-Control": "private"}
    return Response(render(found, settings.receipt_font), media_type=_PDF, headers=headers)
