"""The backend pip takes for an archive that names none: the same stand-in."""
from hatchling import build as __legacy__  # noqa: F401
