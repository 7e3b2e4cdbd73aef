"""The `hamlet cutover` commands."""

from hamlet.migration.cli.app import cutover

__all__ = ["cutover"]
