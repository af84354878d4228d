"""A receipt as one PDF page (more when its lines need it). Pure: the same receipt gives the same bytes."""

from datetime import datetime, timedelta
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table

from fleet.rentals.pricing.price import LineKind
from fleet.rentals.records.receipts import Receipt, Stop

_INK: Final = HexColor("#1c2733")
_FAINT: Final = HexColor("#6b7885")
_RULE: Final = HexColor("#c9d1d9")
_MARGIN: Final = 20 * mm
_WIDTH: Final = A4[0] - 2 * _MARGIN
#: Bitstream Vera comes with the library: the letters of western Europe.
_PLAIN: Final = "Vera.ttf"
_BOLD: Final = "VeraBd.ttf"


def render(receipt: Receipt, font: Path | None = None) -> bytes:
    """`font`: a TrueType file with the letters of the fleet's languages; None: those of western Europe."""
    plain, bold = _fonts(None if font is None else str(font))
    styles = {
        "h1": ParagraphStyle("h1", fontName=bold, fontSize=20, leading=26, textColor=_INK),
        "text": ParagraphStyle("text", fontName=plain, fontSize=9.5, leading=13.5, textColor=_INK),
        "bold": ParagraphStyle("bold", fontName=bold, fontSize=9.5, leading=13.5, textColor=_INK),
        "faint": ParagraphStyle("faint", fontName=plain, fontSize=8.5, leading=12, textColor=_FAINT),
    }
    for name in ("text", "bold", "faint"):
        styles[f"{name}_right"] = ParagraphStyle(f"{name}_right", parent=styles[name], alignment=TA_RIGHT)
    page = _Page(receipt, styles)
    out = BytesIO()
    document = SimpleDocTemplate(
        out, pagesize=A4, leftMargin=_MARGIN, rightMargin=_MARGIN, topMargin=_MARGIN, bottomMargin=_MARGIN,
        title=f"Receipt {receipt.rental_id}", author=receipt.issuer.splitlines()[0], invariant=1,
    )  # fmt: skip
    document.build([*page.head(), *page.ride(), *page.amounts()])
    return out.getvalue()


@lru_cache(maxsize=8)
def _fonts(path: str | None) -> tuple[str, str]:
    """Names under which the library knows them."""
    files = {"receipt": path or _PLAIN, "receipt-bold": path or _BOLD}
    names = {name: f"{name}-{file}" for name, file in files.items()}
    for name, file in files.items():
        registerFont(TTFont(names[name], file))
    return names["receipt"], names["receipt-bold"]


class _Page:
    def __init__(self, receipt: Receipt, styles: dict[str, ParagraphStyle]) -> None:
        self._receipt = receipt
        self._styles = styles
        self._zone = ZoneInfo(receipt.time_zone)

    def head(self) -> list[Flowable]:
        receipt = self._receipt
        issuer = "<br/>".join(escape(line) for line in receipt.issuer.splitlines())
        numbers = ", ".join(map(str, receipt.invoice_numbers)) or "none: it cost nothing"
        about = f"Invoice no. {numbers}<br/>{self._time(receipt.issued_at)}<br/>Rental {receipt.rental_id}"
        return [
            self._columns(
                [[self._text(issuer, "bold", markup=True), self._text(about, "faint_right", markup=True)]], _WIDTH / 2
            ),
            Spacer(0, 10 * mm),
            self._columns([[self._text("Receipt", "h1"), self._text("", "faint")]]),
            Spacer(0, 4 * mm),
        ]

    def ride(self) -> list[Flowable]:
        receipt = self._receipt
        rows = [
            ("Power bank", receipt.power_bank),
            ("Taken", self._stop(receipt.taken)),
            ("Returned", "not brought back" if receipt.returned is None else self._stop(receipt.returned)),
            ("Duration", _length(receipt.duration)),
        ]
        if receipt.returned is None or receipt.returned.at > receipt.charged_until:
            rows.insert(3, ("Charged until", self._time(receipt.charged_until)))
        if receipt.paused:
            rows.append(("Of which paused", _length(receipt.paused)))
        cells = [[self._text(name, "faint"), self._text(value, "text")] for name, value in rows]
        return [Table(cells, colWidths=[35 * mm, _WIDTH - 35 * mm], style=_tight()), Spacer(0, 8 * mm)]

    def amounts(self) -> list[Flowable]:
        receipt = self._receipt
        # A tax that the amounts contain is said once, below the total.
        told = [line for line in receipt.lines if line.amount_minor or line.kind != LineKind.TAX]
        lines = [self._amount(line.text, line.amount_minor, "text") for line in told]
        sums = [self._amount("Total", receipt.total_minor, "bold")]
        if receipt.tax_label is not None:
            sums.append(self._amount(f"Contains {receipt.tax_label}", receipt.tax_minor, "faint"))
        if receipt.credited_minor:
            why = "; ".join(receipt.credit_reasons) or "Given back"
            sums.append(self._amount(why, -receipt.credited_minor, "text"))
        sums.append(self._amount("Paid", receipt.paid_minor, "text"))
        if len(receipt.paid_by) > 1 or any(purse != "wallet" for purse, _ in receipt.paid_by):
            sums += [self._amount(f"with {purse}", minor, "faint") for purse, minor in receipt.paid_by]
        if receipt.refunded_minor:
            sums.append(self._amount("Given back before, and not contained in it", receipt.refunded_minor, "faint"))
        if receipt.written_off_minor:
            sums.append(self._amount("Not asked for any more", receipt.written_off_minor, "text"))
        if receipt.due_minor:
            sums.append(self._amount("Still to pay", receipt.due_minor, "bold"))
        return [self._columns(lines, ruled=True), self._columns(sums)]

    def _amount(self, text: str, amount_minor: int, style: str) -> list[Paragraph]:
        return [self._text(text, style), self._text(str(self._receipt.money(amount_minor)), f"{style}_right")]

    def _columns(self, rows: list[list[Paragraph]], right: float = 45 * mm, *, ruled: bool = False) -> Table:
        style = [*_tight(), *([("LINEBELOW", (0, 0), (-1, -1), 0.4, _RULE)] if ruled else [])]
        return Table(rows, colWidths=[_WIDTH - right, right], style=style)

    def _text(self, text: str, style: str, *, markup: bool = False) -> Paragraph:
        return Paragraph(text if markup else escape(text), self._styles[style])

    def _stop(self, stop: Stop) -> str:
        where = f"{stop.name} ({stop.code})" + (f", {stop.address}" if stop.address else "")
        return f"{self._time(stop.at)}, {where}"

    def _time(self, at: datetime) -> str:
        return at.astimezone(self._zone).strftime("%Y-%m-%d %H:%M %Z")


def _tight() -> list[tuple[Any, ...]]:
    whole = ((0, 0), (-1, -1))
    return [
        ("VALIGN", *whole, "TOP"), ("LEFTPADDING", *whole, 0), ("RIGHTPADDING", *whole, 0),
        ("TOPPADDING", *whole, 2.5), ("BOTTOMPADDING", *whole, 2.5),
    ]  # fmt: skip


def _length(duration: timedelta) -> str:
    """`2 d 3 h 5 min`, seconds only below a minute."""
    seconds = int(duration.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    days, hours, minutes = seconds // 86_400, seconds % 86_400 // 3600, seconds % 3600 // 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)
