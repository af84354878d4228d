"""Photos of a return over HTTP: the rider sends and sees them, operators see them, strangers and others do not."""

import io

from PIL import Image

from fleet.rentals.underway.pictures import PICTURE_MAX_BYTES
from tests.api.conftest import Live
from tests.api.people import operator, signed_in
from tests.api.test_care import ADMIN, RENTAL, rent
from tests.api.world import add_station
from tests.fleet.rentals.underway.test_pictures import sent


def test_a_rider_shows_where_the_bank_is(live: Live) -> None:
    with signed_in(live) as rider, signed_in(live) as stranger, operator(live) as boss:
        rental_id, _ = rent(live, rider)
        claim_at = f"{RENTAL}/{rental_id}/return-claim"
        photos = f"{claim_at}/photo"
        early = rider.http.post(photos, content=sent())
        assert (early.status_code, early.json()["code"]) == (404, "return_claim_not_found")
        add_station(live, "NEAR", charges=())
        claim = rider.http.post(claim_at, json={"station": "NEAR", "slot": 2}).json()["id"]

        made = rider.http.post(photos, content=sent("PNG"), headers={"Content-Type": "image/png"})
        assert (made.status_code, made.json()["width"], made.json()["height"]) == (201, 60, 40)
        again = rider.http.post(photos, content=sent("PNG"))  # whatever it calls itself
        assert again.json() == made.json()
        assert rider.http.get(photos).json()["items"] == [made.json()]
        shown = rider.http.get(f"{photos}/{made.json()['id']}")
        assert (shown.headers["content-type"], shown.headers["cache-control"]) == ("image/jpeg", "private, no-store")
        assert Image.open(io.BytesIO(shown.content)).size == (60, 40)

        for path in (photos, f"{photos}/{made.json()['id']}"):
            assert stranger.http.get(path).status_code == 404
            assert live.client.get(path).status_code == 401
        assert stranger.http.post(photos, content=sent()).status_code == 404
        text = rider.http.post(photos, content=b"<svg/>", headers={"Content-Type": "image/jpeg"})
        assert (text.status_code, text.json()["code"]) == (415, "not_a_picture")
        large = rider.http.post(photos, content=bytes(PICTURE_MAX_BYTES + 1))
        assert (large.status_code, large.json()["code"]) == (413, "too_large")

        listed = boss.http.get(f"{ADMIN}/return-claim/{claim}/photo").json()["items"]
        assert listed == [made.json()]
        photo = f"{ADMIN}/return-photo/{made.json()['id']}"
        assert boss.http.get(photo).content == shown.content
        assert rider.http.get(photo).status_code == 403
