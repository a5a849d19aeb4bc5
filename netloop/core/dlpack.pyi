# Its functions are for pools and leases only.
