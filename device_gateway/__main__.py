import sys

from device_gateway.main import main

if __name__ == "__main__":
    sys.exit(main())
