"""Beacon's version. pyproject.toml, the package's metadata and `beacon --version` take it from here."""

VERSION = "0.2.0"
