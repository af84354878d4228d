"""Photos with a claim: its rider's, few, once each, and not for ever."""

from datetime import timedelta

import pytest

from fleet.rentals.errors import ClaimNotFound, PhotoNotFound, RentalNotFound, TooManyPhotos
from fleet.rentals.models import Rental
from fleet.rentals.underway import photos
from fleet.rentals.underway.models import ReturnPhoto
from fleet.rentals.underway.pictures import clean
from tests.factories import add_rider
from tests.fleet.rentals.underway.test_pictures import sent
from tests.fleet.rentals.underway.test_return_claims import claimed
from tests.fleet.rentals.world import DAY, World

KEEP = timedelta(days=90)
ONE = sent()


def add(world: World, rental: Rental, content: bytes = ONE) -> ReturnPhoto:
    return photos.add(
        world.session, user_id=rental.user_id, rental_id=rental.id, sent=content, picture=clean(content), now=world.now
    )


def test_the_same_picture_again_is_the_same_photo(world: World) -> None:
    rental, claim, _ = claimed(world)
    first = add(world, rental)
    assert add(world, rental).id == first.id
    second = add(world, rental, sent(size=(61, 40)))
    listed = photos.of_rental(world.session, rental.user_id, rental.id)
    assert [each.id for each in listed] == [first.id, second.id]
    assert [each.id for each in photos.of_claim(world.session, claim.id)] == [first.id, second.id]
    assert photos.mine(world.session, rental.user_id, rental.id, first.id).content == clean(ONE).content


def test_a_claim_has_five(world: World) -> None:
    rental, _, _ = claimed(world)
    for width in range(photos.PHOTOS_MAX):
        add(world, rental, sent(size=(50 + width, 40)))
    with pytest.raises(TooManyPhotos):
        add(world, rental, sent(size=(99, 40)))
    add(world, rental, sent(size=(50, 40)))  # it is there already


def test_without_a_claim_there_is_nothing_to_show(world: World) -> None:
    with pytest.raises(ClaimNotFound):
        add(world, world.rent())


def test_nobody_else_sees_them(world: World) -> None:
    rental, _, _ = claimed(world)
    photo = add(world, rental)
    other = add_rider(world.session, world.now, 0)
    with pytest.raises(RentalNotFound):
        photos.mine(world.session, other, rental.id, photo.id)
    with pytest.raises(RentalNotFound):
        photos.of_rental(world.session, other, rental.id)
    with pytest.raises(PhotoNotFound):
        photos.mine(world.session, rental.user_id, rental.id, rental.id)


def test_they_are_forgotten(world: World) -> None:
    rental, _, _ = claimed(world)
    old = add(world, rental)
    world.later(DAY)
    young = add(world, rental, sent(size=(61, 40)))
    world.later(KEEP - DAY + timedelta(seconds=1))
    assert [photos.forget(world.session, world.now, KEEP) for _ in range(2)] == [1, 0]
    with pytest.raises(PhotoNotFound):
        photos.photo_by_id(world.session, old.id)
    assert photos.photo_by_id(world.session, young.id).content
