"""Bad input and bad weather, on netloop alone; what might crash runs in a child process."""
