/* STAND-IN: an empty module under the name of NVIDIA's, so that DKMS, depmod and modinfo are real. */
#include <linux/module.h>
MODULE_LICENSE("Dual MIT/GPL");
MODULE_VERSION("@UPSTREAM@");
