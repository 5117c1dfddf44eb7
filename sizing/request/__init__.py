"""What is asked: a deployment's request, its trace, and the traffic that both make."""
