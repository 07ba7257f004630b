#!/usr/bin/env bash
# What a real kubelet needs beside it: runc, busybox and CNI plugins from the distribution, containerd by Go's module proxy.
#
# Safe to repeat. containerd is built once (3 minutes on 2 cores) into the cache folder, by version.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=v2.4.2
module=github.com/containerd/containerd/v2
target=${XDG_CACHE_HOME:-$HOME/.cache}/dra-operator/containerd

say() { echo "setup-kubelet: $*"; }

if [ "$(id -u)" != 0 ]; then
	say "a kubelet needs root: nothing is set up, and make e2e-kubelet will skip"
	exit 0
fi

missing=()
command -v runc >/dev/null || missing+=(runc)
command -v busybox >/dev/null || missing+=(busybox-static)
command -v ip >/dev/null || missing+=(iproute2)
[ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
if [ ${#missing[@]} -gt 0 ]; then
	say "installing ${missing[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ "$(cat "$target/version" 2>/dev/null)" != "$version" ]; then
	PATH=$PWD/.venv/bin:$PATH # make setup puts a Go there where the own one is too old
	command -v go >/dev/null || {
		say "no Go to build containerd with; make setup installs one" >&2
		exit 1
	}
	say "building containerd $version (once; about 3 minutes on 2 cores)"
	mkdir -p "$target"
	GOBIN=$target GOFLAGS=-mod=mod go install -trimpath -ldflags '-s -w' -tags 'no_btrfs no_devmapper no_zfs' \
		"$module/cmd/containerd@$version" "$module/cmd/containerd-shim-runc-v2@$version" "$module/cmd/ctr@$version"
	echo "$version" >"$target/version"
fi
say "ready"
