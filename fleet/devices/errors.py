from fleet.common.errors import Conflict


class UsernameTaken(Conflict):
    """Another station's device calls itself by this name (`username`) at the broker."""

    code = "username_taken"
