"""`python -m hamlet`"""

from hamlet.cli import main

main()
