"""Which tasks hear of which event. An event that is not here has no consumer and is settled as soon as it is seen."""

from fleet.devices.events import (
    ConnectDoubted,
    InventoryFresh,
    InventoryStale,
    StationInventoryRefused,
    StationOffline,
    StationOnline,
)
from fleet.payments.events import (
    AuthorizationDecided,
    MoneyOutDue,
    MoneyOutSettled,
    PaymentDisputeClosed,
    PaymentDisputed,
    PaymentMethodRemoved,
    RentalDuePaid,
    RentalPaymentCaptured,
    RentalPaymentReady,
    RentalRefunded,
    SubscriptionPaymentCaptured,
    SubscriptionPaymentFailed,
    SubscriptionPaymentRefunded,
    TopUpSucceeded,
    WebhookReceived,
)
from fleet.rentals.events import RentalClosed
from fleet.stations.events import FaultReported, SlotDisabled
from fleet.users.events import OtpRequested

#: Something is different at a station (all have `station_id`): rules of alerts look at it.
_AT_A_STATION = (
    ConnectDoubted,
    FaultReported,
    InventoryFresh,
    InventoryStale,
    SlotDisabled,
    StationInventoryRefused,
    StationOffline,
    StationOnline,
)

#: What a rental took in is different now (all have `rental_id`): its tax, and what partners have of it.
_TAKINGS = (RentalClosed, RentalDuePaid, RentalRefunded)

ROUTES: dict[str, tuple[str, ...]] = {
    OtpRequested.name: ("users.deliver_code",),
    WebhookReceived.name: ("payments.apply_webhook",),
    AuthorizationDecided.name: ("payments.carry_out_authorization",),
    MoneyOutDue.name: ("payments.send_money_out",),
    MoneyOutSettled.name: ("partners.settle_payout",),
    PaymentDisputed.name: ("rentals.follow_chargeback", "subscriptions.end_disputed"),
    PaymentDisputeClosed.name: ("rentals.follow_chargeback",),
    PaymentMethodRemoved.name: ("payments.forget_method",),
    RentalPaymentCaptured.name: ("rentals.collect_dues",),
    RentalPaymentReady.name: ("rentals.start_paid",),
    SubscriptionPaymentCaptured.name: ("subscriptions.settle_payment",),
    SubscriptionPaymentFailed.name: ("subscriptions.settle_payment",),
    SubscriptionPaymentRefunded.name: ("subscriptions.note_refund",),
    TopUpSucceeded.name: ("rentals.collect_dues",),
    **{event.name: ("telemetry.look_at_stations",) for event in _AT_A_STATION},
    **{event.name: ("partners.settle_rental",) for event in _TAKINGS},
    RentalRefunded.name: ("partners.settle_rental", "rentals.give_minutes_back", "rentals.give_back_to_guest"),
}

#: Tasks that take many events at once, for whom a thousand are hardly more work than one (decision 0290).
TOGETHER: frozenset[str] = frozenset({"telemetry.look_at_stations"})

#: Nobody stands in front of a screen or a cabinet until these are dealt with.
UNHURRIED: frozenset[str] = frozenset(event.name for event in (*_AT_A_STATION, RentalClosed, RentalDuePaid))
