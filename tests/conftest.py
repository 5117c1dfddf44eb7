"""What every test shares: repeatable examples, and one cluster and one model for all lanes that need them."""

from hypothesis import settings

from tests.cluster_fixture import cluster, model_folder
from tests.conclusive import pytest_runtest_protocol, pytest_terminal_summary

__all__ = ["cluster", "model_folder", "pytest_runtest_protocol", "pytest_terminal_summary"]

pytest_plugins = ["tests.suite.plugin"]

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("repeatable")
