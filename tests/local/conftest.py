from tests.cluster_fixture import cluster, model_folder

__all__ = ["cluster", "model_folder"]
