"""What tests give HTTP clients as `verify`, because all they speak is plain HTTP on this machine.

Otherwise httpx reads every authority's certificate anew for each client, a twentieth of a second for each of thousands.
"""

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
