#!/bin/sh
# Puts NVIDIA's PTX assembler into the user's cache, where the PTX tests look for it: the binary of Debian's non-free package
# nvidia-cuda-toolkit (11.8), unpacked, not installed. Needs apt and a network; nothing of the system is changed.
set -eu

target="${XDG_CACHE_HOME:-$HOME/.cache}/interpengine/cuda"
if [ -x "$target/ptxas" ]; then
    echo "$target/ptxas is there."
    exit 0
fi

for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: this script needs Debian's tools." >&2; exit 1; }
done

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/unpacked" "$target"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] http://deb.debian.org/debian bookworm non-free" >"$work/sources.list"

apt() {
    apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root -o APT::Architecture=amd64 "$@"
}

cd "$work"
apt update
apt download nvidia-cuda-toolkit
dpkg-deb --fsys-tarfile nvidia-cuda-toolkit_*.deb | tar -x -C unpacked --wildcards '*/bin/ptxas' '*/bin/nvdisasm'
for tool in ptxas nvdisasm; do
    found="$(find unpacked -type f -name "$tool" | head -n 1)"
    [ -n "$found" ] || { echo "The package has no $tool." >&2; exit 1; }
    cp "$found" "$target/$tool.new"
    chmod 755 "$target/$tool.new"
    mv "$target/$tool.new" "$target/$tool"
done

"$target/ptxas" --version
