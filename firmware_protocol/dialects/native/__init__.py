from firmware_protocol.dialects.native.native import NATIVE, NativeDialect
from firmware_protocol.encoding import Encoding

__all__ = ["NATIVE", "Encoding", "NativeDialect"]
