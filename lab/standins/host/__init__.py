"""
A home server that can be had without buying one: a real Debian, booted, on its own address.

Real: systemd, apt and dpkg, sshd, DKMS compiling against Debian's kernel headers, initramfs-tools, reboots, iptables,
a kubelet and the pods it starts. The kernel is the one of the machine at hand (systemd-nspawn boots no kernel).

Stand-ins, each saying so when asked: NVIDIA's repositories and packages (``packages/``, ``mirror.py``), the card
(``nvidia-smi``, one entry on the PCI bus), the ``k3s`` command (``k3s``: it starts the real Kubernetes components).
Used by the tests and the demo, never by product code.
"""
