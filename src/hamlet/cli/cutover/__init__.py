"""`hamlet cutover init | export | status | set | report | advance | hold | release | ...`"""

from hamlet.cli.cutover.app import cutover

__all__ = ["cutover"]
