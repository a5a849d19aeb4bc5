/* How many files this process may open. */
#ifndef BENCH_DESCRIPTORS_H
#define BENCH_DESCRIPTORS_H

/* Allow this process as many descriptors as so many connections need; it ends with a message where it may not. */
void raise_descriptor_limit(unsigned connections);

#endif
