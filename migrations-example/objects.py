"""The tests' own S3 client (spec/support/s3_admin.py), for the example's programs: nothing under test judges itself."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "spec/support"))
from s3_admin import Answer, from_environment as client  # noqa: E402 (the path comes first)

__all__ = ["Answer", "client"]
