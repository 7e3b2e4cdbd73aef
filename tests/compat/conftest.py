"""The copies' own tests run in an environment of their own, not in this one."""

collect_ignore_glob = ["b1e5b88/*"]
