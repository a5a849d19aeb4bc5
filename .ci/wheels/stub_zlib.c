/* In place of zlib, of which Debian has none for musl. CPython's binascii module links to it, and the ssl module imports
 * binascii; neither needs a checksum to start. */
#include <stdlib.h>

unsigned long crc32(unsigned long start, const unsigned char *data, unsigned int length);

unsigned long crc32(unsigned long start, const unsigned char *data, unsigned int length)
{
    (void)start, (void)data, (void)length;
    abort();
}
