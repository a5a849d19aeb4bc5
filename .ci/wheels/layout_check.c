/* Compiled, never run, for each target with the pyconfig.h of the Python that builds.
 *
 * A build for arm64 or musl sees the pyconfig.h of this machine's Python. Python.h takes three kinds of facts from it.
 * Sizes and alignments decide the layout of objects: they must be the target's, and this file fails to compile where
 * one is not. Which headers there are (HAVE_SYS_TYPES_H and its like) is the same on every Linux. How the interpreter
 * was made (Py_GIL_DISABLED, Py_DEBUG, WITH_PYMALLOC) belongs to the ABI that the wheel's tag names, and not to the
 * processor or the C library. The rest, such as which functions configure has found, is read by CPython's own sources
 * only. */
#include <Python.h>

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>
#include <wchar.h>

#define SAME(macro, type) _Static_assert((macro) == sizeof(type), #macro " of pyconfig.h is not the target's")
#define ALIGNED(macro, type) _Static_assert((macro) == _Alignof(type), #macro " of pyconfig.h is not the target's")

SAME(SIZEOF_SHORT, short);
SAME(SIZEOF_INT, int);
SAME(SIZEOF_LONG, long);
SAME(SIZEOF_LONG_LONG, long long);
SAME(SIZEOF_FLOAT, float);
SAME(SIZEOF_DOUBLE, double);
SAME(SIZEOF_LONG_DOUBLE, long double);
SAME(SIZEOF__BOOL, _Bool);
SAME(SIZEOF_VOID_P, void *);
SAME(SIZEOF_UINTPTR_T, uintptr_t);
SAME(SIZEOF_SIZE_T, size_t);
SAME(SIZEOF_WCHAR_T, wchar_t);
SAME(SIZEOF_PID_T, pid_t);
SAME(SIZEOF_OFF_T, off_t);
SAME(SIZEOF_TIME_T, time_t);
SAME(SIZEOF_FPOS_T, fpos_t);
SAME(SIZEOF_PTHREAD_T, pthread_t);
SAME(SIZEOF_PTHREAD_KEY_T, pthread_key_t);
ALIGNED(ALIGNOF_LONG, long);
ALIGNED(ALIGNOF_SIZE_T, size_t);
#ifdef ALIGNOF_MAX_ALIGN_T
ALIGNED(ALIGNOF_MAX_ALIGN_T, max_align_t);
#endif
#ifdef WORDS_BIGENDIAN
#error "pyconfig.h is of a machine with the other byte order"
#endif
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the target has the other byte order");
