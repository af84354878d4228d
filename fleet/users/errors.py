from fleet.common.errors import Conflict, FleetError, Forbidden, NotFound, TooManyRequests


class NotAuthenticated(FleetError):
    """The caller has not proven who they are; HTTP 401."""

    code = "not_authenticated"


class CodeRefused(NotAuthenticated):
    """Wrong, used, expired or never sent: all look the same from outside."""

    code = "code_refused"


class TokenRefused(NotAuthenticated):
    """An access or refresh token that is not, or no longer, valid."""

    code = "token_refused"


class UserSuspended(Forbidden):
    code = "user_suspended"


class GuestsNotAllowed(Forbidden):
    """Riders need an account here; who came as a guest before may still do all but rent."""

    code = "guests_not_allowed"


class AccountNeeded(Forbidden):
    """Not for guests: it takes a phone or an e-mail address that is proven."""

    code = "account_needed"


class NotAGuest(Conflict):
    """The caller has an account: there is nothing to make one of."""

    code = "not_a_guest"


class DestinationTaken(Conflict):
    """An account is reached there already, as the caller has just proven. The code still signs in to it."""

    code = "destination_taken"


class TooManyCodes(TooManyRequests):
    """Codes for this destination or from this address; `retry_after_s`."""

    code = "too_many_codes"


class UserNotFound(NotFound):
    code = "user_not_found"


class NoSender(FleetError):
    """Nothing is configured that could carry messages to this kind of destination."""

    code = "no_sender"


class MessageNotAccepted(FleetError):
    """The mail server or SMS gateway did not take a message, for now or for good; or it is not known whether it did."""

    code = "message_not_accepted"
