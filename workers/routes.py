"""Which tasks hear of which event. An event that is not here has no consumer and is settled as soon as it is seen."""

from fleet.payments.events import TopUpSucceeded, WebhookReceived
from fleet.users.events import OtpRequested

ROUTES: dict[str, tuple[str, ...]] = {
    OtpRequested.name: ("users.deliver_code",),
    WebhookReceived.name: ("payments.apply_webhook",),
    TopUpSucceeded.name: ("rentals.collect_dues",),
}
