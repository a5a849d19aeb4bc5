"""What comes before there is a loop: making one or another, the policy, and why io_uring is refused.

``import netloop`` brings in this folder and nothing compiled, so that a machine without io_uring can import it and ask.
The loop's class is therefore found by name when the first loop is made (``loops``), not imported.

It uses no other folder of the package.
"""
