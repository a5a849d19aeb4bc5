# Its functions, which translate between Python's addresses and the kernel's, are for the other compiled modules only.
