"""Writes fmnist_tfds/exchange/fashion-mnist-rows.bin from the genuine four files.

    python scripts/make_row_table.py FOLDER-OF-THE-FOUR-GZ

The table holds the first 8 bytes of each image's SHA-256 in the original order (70,000 rows,
560,000 bytes). `adopt` uses it to put the rows of a CSV or PNG tree back into that order.
"""

import argparse
import gzip
import hashlib
import pathlib

import numpy as np

from fmnist_tfds import catalog
from fmnist_tfds.exchange.adopt import row_order
from fmnist_tfds.formats import idx


def main(folder: pathlib.Path) -> None:
    """Checks the image files, makes the table, writes it."""
    parts = []
    splits: tuple[catalog.Split, ...] = ("train", "test")
    for split in splits:
        file = catalog.FASHION_MNIST.part(split, "images")
        payload = gzip.decompress((folder / file.name).read_bytes())
        if hashlib.sha256(payload).hexdigest() != file.payload_sha256:
            raise SystemExit(f"{folder / file.name} is not genuine")
        parts.append(idx.decode(payload, file.shape).reshape(file.shape[0], -1))
    images = np.concatenate(parts)
    table = row_order.RowTable.of_images(images)
    if (table.positions(images) != np.arange(len(images))).any():
        raise SystemExit("two images share a truncated digest")
    out = pathlib.Path(row_order.__file__).with_name(f"{catalog.FASHION_MNIST.name}-rows.bin")
    out.write_bytes(table.to_bytes())
    print(f"{out.name}: {table.size:,} rows, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="holds the four genuine .gz")
    main(parser.parse_args().folder)
