#!/bin/sh
# A cabinet with four slots. Usage: sh cabinet.sh CODE [HOST [PORT]]
CODE=${1:?station code} HOST=${2:-127.0.0.1} PORT=${3:-1883} SLOTS="1 2 3 4"
mkdir -p "cabinet-$CODE/slot" "cabinet-$CODE/done" && cd "cabinet-$CODE" && touch journal && rm -f gate_is_open answered

now()   { echo "$(date +%s)000"; }
next()  { n=$(($(cat "$1" 2>/dev/null || echo 0) + 1)); echo "$n" > "$1"; echo "$n"; }
field() { printf '%s\n' "$2" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" | grep -v '^null$'; }

publish() { # topic's kind, QoS, frame, further options
  kind=$1 qos=$2 frame=$3; shift 3
  mosquitto_pub -V 5 -h "$HOST" -p "$PORT" -u "$CODE" -q "$qos" -t "vb/v1/$CODE/up/$kind" \
    -D publish content-type application/json -m "$frame" "$@"
}
frame() { printf '{"v":1,"boot":%s,"seq":%s,"at":%s,"type":"%s","data":%s}' "$boot" "$1" "$(now)" "$2" "$3"; }

event() { # type, data: into the journal first (7.1), then to the backend
  f=$(frame "$(next seq)" "$1" "$2"); echo "$boot $(cat seq) $f" >> journal
  if [ -f gate_is_open ]; then publish event 1 "$f"; fi
}
replay() { # boot, first, last: again, marked (7.4)
  while read -r b s f; do
    if [ "$b" = "$1" ] && [ "$s" -ge "$2" ] && [ "$s" -le "$3" ]; then publish event 1 "${f%\}},\"replayed\":true}"; fi
  done < journal
}
lost() { # boot, first, last: what is no longer held of these, which is freed from its beginning (7.4)
  made=$3; if [ "$1" = "$boot" ]; then made=$(cat seq); fi
  end=$(awk -v b="$1" -v n=$((made + 1)) -v l="$3" '$1 == b { n = $2; exit } END { print (n > l ? l : n - 1) }' journal)
  if [ "$end" -ge "$2" ]; then publish boot 1 "$(frame 0 journal_lost "{\"boot\":$1,\"first\":$2,\"last\":$end}")"; fi
}
booted() {
  held=$(awk '{ if ($1 != b) { if (b) printf "{\"boot\":%s,\"first\":%s,\"last\":%s},", b, f, l; b = $1; f = $2 } l = $2 }
    END { if (b) printf "{\"boot\":%s,\"first\":%s,\"last\":%s}", b, f, l }' journal)
  publish boot 1 "$(frame 0 booted "{\"epoch\":$epoch,\"firmware\":\"sh-1\",\"hardware\":\"sh\",\"slots\":4,\"journal\":[$held]}")"
}
inventory() { # further fields of the message
  list=""; for n in $SLOTS; do
    if [ -f "slot/$n" ]; then one="\"occupied\",\"serial\":\"$(cut -d' ' -f1 "slot/$n")\""; else one='"empty"'; fi
    list="$list${list:+,}{\"slot\":$n,\"state\":$one}"
  done
  event inventory "{\"slots\":[$list],\"complete\":true$1}"
}
result() { # id, outcome, further fields: remembered (8.2), then reported
  echo "{\"command_id\":\"$1\",\"outcome\":\"$2\"$3}" > "done/$1"; event command_result "$(cat "done/$1")"
}
leave() { # slot, further fields: the bank is out
  read -r bank charge < "slot/$1"; rm "slot/$1"
  event power_bank_ejected "{\"slot\":$1,\"serial\":\"$bank\",\"charge_pct\":$charge$2}"
}
eject() { # id, slot, serial (9.1); a slot or a serial may be empty
  slot=${2:-$(grep -l "^$3 " slot/* 2>/dev/null | sed 's/.*\///')}
  if [ -z "$slot" ]; then result "$1" failed ',"code":"bank_not_here"'; return; fi
  if [ "$slot" -gt 4 ]; then result "$1" invalid ',"code":"no_such_slot"'; return; fi
  if [ ! -f "slot/$slot" ]; then result "$1" failed ',"code":"slot_empty"'; return; fi; read -r bank charge < "slot/$slot"
  if [ -n "$3" ] && [ "$3" != "$bank" ]; then result "$1" failed ',"code":"serial_mismatch"'; return; fi
  leave "$slot" ",\"command_id\":\"$1\""
  result "$1" succeeded ",\"slot\":$slot,\"serial\":\"$bank\""
}
obey() { # a frame from down/command
  id=$(field id "$1"); if [ ! -f gate_is_open ] || [ -z "$id" ]; then return; fi
  if [ -f "done/$id" ]; then event command_result "$(cat "done/$id")"; return; fi
  if [ "$(field deadline "$1")" -lt "$(now)" ]; then result "$id" expired ',"code":"deadline_passed"'; return; fi
  case $(field type "$1") in
    eject_power_bank) eject "$id" "$(field slot "$1")" "$(field serial "$1")" ;;
    query_inventory) inventory ",\"command_id\":\"$id\""; result "$id" succeeded ;;
    *) result "$id" unsupported ;;
  esac
}
welcome() { # a frame from down/welcome (6.6)
  if [ "$(field epoch "$1")" != "$epoch" ]; then return; fi; touch answered; field heartbeat_s "$1" > period
  if [ -n "$(field retry_after_s "$1")" ]; then sleep "$(field retry_after_s "$1")"; booted; return; fi
  if [ -f gate_is_open ]; then return; fi
  if [ "$(field boot_floor "$1")" -ge "$boot" ]; then
    sed -i "s/^$boot \([0-9]*\) {\"v\":1,\"boot\":$boot,/$(($(field boot_floor "$1") + 1)) \1 {\"v\":1,\"boot\":$(($(field boot_floor "$1") + 1)),/" journal
    boot=$(($(field boot_floor "$1") + 1)); echo "$boot" > boot; booted; return
  fi
  touch gate_is_open; echo "welcome, boot $boot"
  cut -d' ' -f1 journal | sort -nu | while read -r b; do replay "$b" 1 9223372036854775807; done
  inventory ''
  s=0; while sleep 1; do s=$((s + 1)); if [ "$s" -ge "$(cat period)" ]; then s=0
    publish telemetry 0 "$(frame "$(next sample)" heartbeat '{"mains":true}')"; fi; done &
}
boot=$(next boot) epoch=$(next epoch); echo 0 > seq; echo 0 > sample
if [ "$epoch" -lt "$(date +%s)" ]; then epoch=$(date +%s); echo "$epoch" > epoch; fi # (5.2)
{ mosquitto_sub -V 5 -h "$HOST" -p "$PORT" -u "$CODE" -i "$CODE" -k 30 -q 1 -t "vb/v1/$CODE/down/+" -F '%t %p' \
    --will-topic "vb/v1/$CODE/up/state" --will-qos 1 --will-retain \
    --will-payload "{\"v\":1,\"boot\":$boot,\"seq\":0,\"at\":null,\"type\":\"offline\",\"data\":{\"epoch\":$epoch}}" &
  sleep 1; echo subscribed; cat; } | while read -r topic text; do
  case $topic in
    subscribed) publish state 1 "$(frame 0 online "{\"epoch\":$epoch}")" -r; booted
      until sleep "$((10 + $$ % 8))"; [ -f answered ]; do booted; done & ;; # (6.7)
    */down/welcome) welcome "$text" ;;
    */down/command) obey "$text" ;;
    */down/ack) awk -v b="$(field boot "$text")" -v t="$(field through "$text")" '!($1 == b && $2 <= t)' journal > rest; mv rest journal ;;
    */down/resend) printf '%s\n' "$text" | grep -o '{"boot":[^}]*}' | while read -r r; do
        set -- "$(field boot "$r")" "$(field first "$r")" "$(field last "$r")"; lost "$@"; replay "$@"; done ;;
    insert) set -- $text; echo "$2 $3" > "slot/$1"; event power_bank_inserted "{\"slot\":$1,\"serial\":\"$2\",\"charge_pct\":$3}" ;;
    pull) leave "$text" ;;
  esac
done
