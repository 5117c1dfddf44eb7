"""``make demo``: the whole chain on this machine, with neither a GPU nor an AWS account."""
