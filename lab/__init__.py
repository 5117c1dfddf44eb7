"""What builds, tests, shows and measures the kit, and is no part of it: nothing of it is shipped."""
