# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a collection's tarball the same bytes whenever and wherever it was built from the same files.

ansible-galaxy writes the time of the build, the times of the checkout, and the files in the order of the folder. Here they come in the
order of their names, and all carry the time of SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/). Where the zlib
of the Python is another one, the compressed bytes may still differ, and their content does not.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pathlib
import sys
import tarfile


def repack(tarball: pathlib.Path, epoch: int) -> str:
    """Rewrite `tarball`, with `epoch`, in seconds since 1970, as the time of all that it holds. Returns its SHA-256.

    Raises KeyError or tarfile.TarError where it is no collection.
    """
    with tarfile.open(tarball) as old:
        entries = {member.name: (member, old.extractfile(member).read() if member.isreg() else b"") for member in old}
    files = json.loads(entries["FILES.json"][1])
    files["files"].sort(key=lambda each: each["name"])
    content = as_json(files)
    manifest = json.loads(entries["MANIFEST.json"][1])
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(content).hexdigest()
    replaced = {"FILES.json": content, "MANIFEST.json": as_json(manifest)}

    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as new,
    ):
        # ansible-galaxy finds these two first without reading the rest.
        for name in ("MANIFEST.json", "FILES.json", *sorted(entries.keys() - replaced.keys())):
            member, data = entries[name]
            data = replaced.get(name, data)
            member.mtime, member.size, member.pax_headers = epoch, len(data), {}
            new.addfile(member, io.BytesIO(data))
    scratch = tarball.with_suffix(".repacked")
    scratch.write_bytes(packed.getvalue())
    scratch.replace(tarball)
    return hashlib.sha256(packed.getvalue()).hexdigest()


def as_json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not os.environ.get("SOURCE_DATE_EPOCH", "").isdecimal():
        sys.exit(f"usage: SOURCE_DATE_EPOCH=SECONDS {sys.argv[0]} TARBALL")
    print(repack(pathlib.Path(sys.argv[1]), int(os.environ["SOURCE_DATE_EPOCH"])), sys.argv[1])
