#!/usr/bin/env bash
# Makes interp-gpu-linux-x64.tar.xz: this benchmark, the test programs and the goldens with .NET's runtime, for a machine that has
# nothing but NVIDIA's driver. There: unpack, and run ./interp-gpu/run (see --help).
#
#   publish.sh [FOLDER]     where the package goes (default: benchmarks/gpu/bin)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${1:-$here/bin}
limit=$((60 * 1000 * 1000))
mkdir -p "$target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$work/interp-gpu

# One folder, so that the three programs share one runtime. The native CPU kernels are left out: they are built for the machine at
# hand, and the CPU is only the reference here.
for project in tests/InterpEngine.Kernels.Tests tests/InterpEngine.Tests benchmarks/gpu/InterpEngine.Gpu.Benchmarks.csproj; do
  dotnet publish "$root/$project" -c Release -r linux-x64 --self-contained true -o "$package" --nologo -v quiet \
    -p:SkipNativeKernels=true -p:DebugType=none -p:GenerateDocumentationFile=false -p:RunAnalyzers=false \
    -p:EnforceCodeStyleInBuild=false ${PUBLISH_ARGS:-}
done
find "$package" \( -name '*.pdb' -o -name '*.xml' \) -delete
mkdir "$package/goldens"
cp -r "$root/tests/fixtures/goldens/"{models,sae,sae-eval,sae-training} "$package/goldens/"
cp "$here/torch_times.py" "$package/"
ln -s InterpEngine.Gpu.Benchmarks "$package/run"
tar -C "$work" -c interp-gpu | xz -T2 -6 > "$target/interp-gpu-linux-x64.tar.xz"
bytes=$(stat -c %s "$target/interp-gpu-linux-x64.tar.xz")
echo "$target/interp-gpu-linux-x64.tar.xz: $bytes bytes"
if ((bytes > limit)); then
  echo "publish.sh: the package is larger than $limit bytes" >&2
  exit 1
fi
