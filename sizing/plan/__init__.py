"""What is decided: the plan, the words it is told in, and the files it becomes."""
