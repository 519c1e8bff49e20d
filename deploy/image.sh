#!/usr/bin/env bash
# Builds the image: deploy/image.sh [TAG], by default firehosed:dev. Needs Go, a Docker engine and CA certificates; pulls nothing.
# FIREHOSED_BINARY names a static binary to take in place of building one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tag=${1:-firehosed:dev}
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
certificates=
for f in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
  [ ! -s "$f" ] || { certificates=$f; break; }
done
[ -n "$certificates" ] || { echo "no CA certificates on this machine: install ca-certificates" >&2; exit 1; }
if [ -n "${FIREHOSED_BINARY:-}" ]; then
  cp "$FIREHOSED_BINARY" "$context/firehosed"
else
  [ "$(go env GOARCH)" != amd64 ] || export GOEXPERIMENT=simd # blocks of 16 bytes where the CPU has AVX2; the same elsewhere
  CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags=-s -o "$context/firehosed" ./cmd/firehosed
fi
cp "$certificates" "$context/ca-certificates.crt"
cp LICENSE "$context/LICENSE"
echo 'firehosed:x:65532:65532:firehosed:/data:/none' >"$context/passwd"
mkdir "$context/data" && install -d -m 1777 "$context/tmp"
docker build --quiet --tag "$tag" --file deploy/Dockerfile "$context"
