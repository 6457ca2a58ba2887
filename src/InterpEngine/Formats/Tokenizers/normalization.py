"""Writes normalization.txt from the Unicode Character Database that Python carries.

    python normalization.py > normalization.txt

The engine cannot ask the platform: .NET normalises nothing where globalization is invariant, and says nothing of which
character came from which. Existing characters never change (UAX 15, stability), so the version matters little.
"""

import unicodedata

print(f"# Unicode Character Database {unicodedata.unidata_version}, https://www.unicode.org/license.txt; written by normalization.py")
print("# ccc <class> <ranges>: canonical combining classes other than 0")
print("# <character> <one step of its decomposition>; ~ marks a compatibility one, ! a pair that is never composed again")

classes = {}
for code in range(0x110000):
    kind = unicodedata.combining(chr(code))
    if kind:
        ranges = classes.setdefault(kind, [])
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
for kind in sorted(classes):
    print("ccc", kind, *(f"{first:X}" if first == last else f"{first:X}-{last:X}" for first, last in classes[kind]))

for code in range(0x110000):
    parts = unicodedata.decomposition(chr(code)).split()
    if not parts:
        continue
    compatible = parts[0].startswith("<")
    parts = parts[compatible:]
    composes = not compatible and len(parts) == 2
    excluded = composes and unicodedata.normalize("NFC", "".join(chr(int(part, 16)) for part in parts)) != chr(code)
    print(f"{code:X}", ("~" if compatible else "!" if excluded else "") + " ".join(f"{int(part, 16):X}" for part in parts))
