#!/bin/sh
# Whether the gateway's user is let in and gets messages. The password travels in a file: others can read arguments.
set -eu
umask 077
printf '%s\n' '-u gateway' "-P $MQTT_GATEWAY_PASSWORD" >/tmp/mosquitto_sub
XDG_CONFIG_HOME=/tmp exec mosquitto_sub -p 1884 -t '$SYS/broker/uptime' -C 1 -W 3 >/dev/null
