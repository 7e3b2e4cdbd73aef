"""`hamlet cutover init | export | status | set | report | advance | hold | release | ...`"""

from hamlet.migration.cli.app import cutover

__all__ = ["cutover"]
