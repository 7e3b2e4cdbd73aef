"""`hamlet plugins`"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from hamlet.registry import Plugins


def plugins() -> None:
    """List the installed provider plugins."""
    table = Table("kind", "distribution", "version", "operations", "status", box=None)
    for row in Plugins().describe_all():
        can = " ".join(row.operations)
        table.add_row(row.kind, row.distribution, row.version, can, row.status)
    Console().print(table)
