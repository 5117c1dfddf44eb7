"""
The place `local`: a real Kubernetes cluster with the real CPU build of vLLM, on the machine at hand, for seconds.

    with Cluster() as cluster:
        cluster.namespace("llm")
        print(cluster.kubectl("get", "nodes"))

Real: etcd, kube-apiserver, scheduler, controller manager, kubelet, kube-proxy, containerd, runc, vLLM.
Stand-ins: `Cluster.gpus` writes GPUs into the node's status that are not there; `names` answers for CoreDNS.
Not there: NetworkPolicy is accepted and not enforced (the bridge plugin has none), no volume provisioner, no way out
to the internet from a pod. Only the Python standard library and Debian packages, so that it also runs on a bare host.
"""
