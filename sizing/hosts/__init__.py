"""Where it can run: hosts at home and on AWS, what a replica needs of one, and what it costs."""
