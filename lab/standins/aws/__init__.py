"""What stands in for AWS where there is no account: see ``standins/README.md``."""
