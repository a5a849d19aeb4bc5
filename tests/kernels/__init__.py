"""The tests on other kernels than this machine's, each booted in a virtual machine; see run.py."""
