# Its functions are for the turn only.
