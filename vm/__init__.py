"""Guests: QEMU machines with Debian's kernel, for what the kernel of this host has not.

Beside the product like tests and bench; the product never imports it. `python -m vm run -- COMMAND` boots a machine in
seconds, runs a command in it on this host's own files and takes it away; `python -m vm cluster up` keeps three of them on a
private network. No KVM is needed: QEMU translates (TCG), so programs run 10 to 25 times slower than on the host.

What is in a guest:

- **Kernel**: Debian's cloud kernel of the newest package that apt offers, unpacked outside of the tree (`kernel.py`), never
  installed. All its modules can be loaded with modprobe: ip_vs (and its schedulers), vxlan, overlay, esp4, esp6, xfrm_user,
  wireguard, nf_tables, br_netfilter, nf_conntrack, dummy, veth, macvlan, ipvlan, sctp, fuse, tun.
- **Files**: the host's root at the same paths, shared read-only under a tmpfs overlay: the checkout and its .venv work as
  they are, and what a guest writes is gone with it. /run, /tmp (unless the checkout is in it), /var/lib/festoon and
  /var/lib/festoon-lab are tmpfs of their own, because overlayfs takes no overlay as its upper layer.
- **cgroups**: pure v2 at /sys/fs/cgroup, or `--cgroup v1` (each controller its own hierarchy), or `hybrid` (v1 and
  /sys/fs/cgroup/unified). No systemd, no udev: init is `guest/init`, and one process of ours, `guest/agent.py`.
- **Network**: loopback; in a cluster also eth0.

Nothing of it stays: sockets have no names, QEMU and virtiofsd are killed by the kernel when the program that started them
ends (PR_SET_PDEATHSIG), and bridges live in a network namespace that ends with them. Only the kernel's cache is kept
(/var/cache/festoon-vm, or $FESTOON_VM_CACHE).
"""
