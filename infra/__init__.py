"""The Pulumi program: places a committed plan on AWS and decides nothing."""
