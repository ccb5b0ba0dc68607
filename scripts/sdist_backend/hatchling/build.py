"""Stands in for a source archive's build backend when pip only downloads it (scripts/setup).

pip asks the backend for the archive's metadata. They lie in the archive already, so nothing of it is run and nothing else fetched.
"""
import email
import pathlib
import shutil


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    facts = email.message_from_string(pathlib.Path("PKG-INFO").read_text(encoding="utf-8"))
    info = pathlib.Path(metadata_directory) / f"{facts['Name']}-{facts['Version']}.dist-info"
    info.mkdir()
    shutil.copy("PKG-INFO", info / "METADATA")
    return info.name
