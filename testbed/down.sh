#!/usr/bin/env bash
# Stops what up.sh started. The data is throw-away, so the servers are killed outright
# (SeaweedFS takes 15 s or more to stop politely). --purge also removes the folder.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DIR=$(cd "${TESTBED_DIR:-$HERE/../.testbed}" 2>/dev/null && pwd) || exit 0
shopt -s nullglob
for f in "$DIR"/run/*.pid; do
  read -r pid born <"$f" || true
  # only a process that is still the very one up.sh started
  if [[ -n ${pid:-} && "$(cut -d' ' -f22 "/proc/$pid/stat" 2>/dev/null)" = "$born" ]]; then
    kill -9 -- "-$pid" 2>/dev/null || true   # each server leads its own process group
    for _ in {1..50}; do [[ -e /proc/$pid && "$(cut -d' ' -f22 "/proc/$pid/stat" 2>/dev/null)" = "$born" && "$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null)" != Z ]] || break; sleep 0.1; done
    echo "testbed: stopped $(basename "$f" .pid)" >&2
  fi
  rm -f "$f"
done
if [[ -e $DIR/run/seaweedfs.ports ]]; then   # its sockets stay behind in /tmp
  for p in $(<"$DIR/run/seaweedfs.ports"); do rm -f /tmp/seaweedfs-*-"$p".sock; done
  rm -f "$DIR/run/seaweedfs.ports"
fi
rm -f "$DIR/env"
[[ ${1:-} = --purge ]] && rm -rf "$DIR"
exit 0
