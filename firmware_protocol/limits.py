"""Bounds of the Voltbay Device Protocol. Each one is a promise to the other side, with the reason it has this value."""

from typing import Final

#: Version of the native protocol that this package speaks.
PROTOCOL_VERSION: Final = 1

#: A whole MQTT payload. 24 slots of telemetry in JSON are about 4 KiB; log chunks are the largest message.
MAX_FRAME_BYTES: Final = 64 * 1024

#: Slots of one cabinet. The largest cabinets in the field have 400 holes (volinks.md, 10x4 + 9x36).
MAX_SLOTS: Final = 512

#: Power bank serials and station codes are printed on labels and scanned as QR codes.
MAX_SERIAL_CHARS: Final = 64
MAX_STATION_CODE_CHARS: Final = 64

#: Command ids are UUIDs (36 characters) from this backend; vendor dialects may make their own.
MAX_COMMAND_ID_CHARS: Final = 64

#: Free text that a cabinet sends (versions, failure codes, fault details).
MAX_TEXT_CHARS: Final = 256

#: Log bytes per chunk: base64 in JSON is a third longer and must still fit MAX_FRAME_BYTES.
MAX_LOG_CHUNK_BYTES: Final = 40 * 1024

#: Bytes of one piece of a log over HTTP, where no frame is around it.
MAX_LOG_UPLOAD_BYTES: Final = 256 * 1024

#: The signed bundle in UpdateFirmware: base64 in JSON is a third longer and leaves room for the envelope.
MAX_MANIFEST_BYTES: Final = 16 * 1024

#: Pieces of one collected log: with the largest pieces 160 MiB, far above what a backend keeps.
MAX_LOG_CHUNKS: Final = 4096

#: Pieces that one CollectLogs may ask for again.
MAX_LOG_INDEXES: Final = 256

#: Counters (boot, seq, epoch) fit a signed 64-bit column.
MAX_COUNTER: Final = 2**63 - 1

#: Cabinet clocks in ms since 1970 that can be stored as a timestamp (year 9999).
MAX_CLOCK_MS: Final = 253_402_300_799_999

#: Nesting of decoded data: an inventory is data -> slots -> slot. Deeper input is an attack on the decoder.
MAX_NESTING: Final = 8

#: Command results that a cabinet remembers, and answers a repeated command with.
REMEMBERED_COMMANDS: Final = 64

#: Ranges of unacknowledged events that `Booted.journal` may list.
MAX_JOURNAL_RANGES: Final = 32

#: Configuration keys in one SetConfig or ConfigReport.
MAX_CONFIG_KEYS: Final = 128

#: Entries of one advert playlist.
MAX_PLAYLIST: Final = 64
