#!/usr/bin/env bash
# Builds and runs the comparison with libtorch; `torch.sh --help` lists the options, `torch.sh` prints the table.
#
# TorchSharp's library is linked against libstdc++ 13 and says so by a version, GLIBCXX_3.4.32, though it takes nothing from it
# that is ever called. Where libstdc++ is older (Debian 12), the loader refuses it; so the built copy gets that need marked as
# weak: in the ELF record (hash of the version's name, flags) the flags become VER_FLG_WEAK.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$here/InterpEngine.Benchmarks.Torch
dotnet build -c Release --nologo -v quiet ${BUILD_ARGS:-} "$project" >&2
output=$project/bin/Release/net10.0
library=$output/runtimes/linux-x64/native/libLibTorchSharp.so
if [[ $(uname -sm) == "Linux x86_64" ]] && ! grep -q GLIBCXX_3.4.32 "$(ldconfig -p | awk '/libstdc\+\+\.so\.6 .*x86-64/ { print $NF; exit }')"; then
  offset=$(LC_ALL=C grep -obUaP '\x42\xf8\x97\x02\x00\x00' "$library" | cut -d: -f1 || true)
  if [[ $offset =~ ^[0-9]+$ ]]; then
    printf '\x02' | dd of="$library" bs=1 seek=$((offset + 4)) conv=notrunc status=none
  fi
fi
exec dotnet "$output/InterpEngine.Benchmarks.Torch.dll" "$@"
