import gc
import sys

# As in api/__main__.py: what is imported stays, and is not looked through for garbage while it grows.
gc.disable()

from device_gateway.main import main  # noqa: E402  # not before the collector rests

gc.freeze()
gc.enable()

if __name__ == "__main__":
    sys.exit(main())
