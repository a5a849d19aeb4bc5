"""What native code needs that several threads may run at once, as they do in an interpreter without its lock.

With the lock all of this is nothing: the lock itself keeps threads apart, NL_FREE_THREADED is a constant 0 that the C
compiler takes branches out by, and a relaxed access is an ordinary one. Who may do what from which thread is said in
core/THREADS.md.
"""

from libc.stdint cimport uint64_t

from netloop.core.cext cimport nl_histogram, nl_meter


cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    enum { NL_FREE_THREADED = 1 };
    /* Of the interpreter's own: who waits for it does not keep the interpreter from stopping all threads. */
    typedef PyMutex nl_lock;
    #ifdef __SANITIZE_THREAD__
    /* It is told, because it does not see what the interpreter does when several threads want the lock. */
    #include <sanitizer/tsan_interface.h>
    #define nl_lock_take(lock) (PyMutex_Lock(lock), __tsan_acquire(lock))
    #define nl_lock_give(lock) (__tsan_release(lock), PyMutex_Unlock(lock))
    #else
    #define nl_lock_take(lock) PyMutex_Lock(lock)
    #define nl_lock_give(lock) PyMutex_Unlock(lock)
    #endif
    #else
    enum { NL_FREE_THREADED = 0 };
    typedef struct { char unused; } nl_lock;
    #define nl_lock_take(lock) ((void)(lock))
    #define nl_lock_give(lock) ((void)(lock))
    #endif
    /* In a forked child, where the thread that held it does not exist. */
    #define nl_lock_reset(lock) memset((lock), 0, sizeof(*(lock)))

    /* Fields that several threads use without a lock. */
    #define nl_load_int(field) __atomic_load_n((field), __ATOMIC_RELAXED)
    #define nl_store_int(field, value) __atomic_store_n((field), (value), __ATOMIC_RELAXED)
    #define nl_load_thread(field) __atomic_load_n((field), __ATOMIC_ACQUIRE)
    #define nl_store_thread(field, value) __atomic_store_n((field), (value), __ATOMIC_RELEASE)
    /* A pointer that is set once, by whatever thread, to memory that is ready to be used. */
    #define nl_load_pointer(field) __atomic_load_n((field), __ATOMIC_ACQUIRE)
    #define nl_store_pointer(field, value) __atomic_store_n((field), (value), __ATOMIC_RELEASE)
    static inline int nl_claim(unsigned long *field, unsigned long thread)
    {
        unsigned long nobody = 0;
        return __atomic_compare_exchange_n(field, &nobody, thread, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }

    /*
     * A counter that the loop's thread alone writes, read by another one for statistics. It is aligned, so what is read
     * is what it was at some moment. The writers are on the way of every packet and stay ordinary accesses, which
     * ThreadSanitizer cannot know to be wanted.
     */
    #ifdef __SANITIZE_THREAD__
    #define NL_GLANCE static __attribute__((noinline, unused, no_sanitize_thread))
    #else
    #define NL_GLANCE static inline __attribute__((unused))
    #endif
    NL_GLANCE unsigned nl_glance(const void *field) { return *(const volatile unsigned *)field; }
    NL_GLANCE uint64_t nl_glance64(const void *field) { return *(const volatile uint64_t *)field; }
    """
    const bint NL_FREE_THREADED

    ctypedef struct nl_lock:
        pass

    void nl_lock_take(nl_lock *lock) noexcept
    void nl_lock_give(nl_lock *lock) noexcept
    void nl_lock_reset(nl_lock *lock) noexcept

    bint nl_load_int(bint *field) noexcept
    void nl_store_int(bint *field, bint value) noexcept
    unsigned nl_load_unsigned "nl_load_int"(unsigned *field) noexcept
    void nl_store_unsigned "nl_store_int"(unsigned *field, unsigned value) noexcept
    unsigned long nl_load_thread(unsigned long *field) noexcept
    void nl_store_thread(unsigned long *field, unsigned long value) noexcept
    nl_meter *nl_load_meter "nl_load_pointer"(nl_meter **field) noexcept nogil
    void nl_store_meter "nl_store_pointer"(nl_meter **field, nl_meter *value) noexcept nogil
    nl_histogram *nl_load_histogram "nl_load_pointer"(nl_histogram **field) noexcept nogil
    void nl_store_histogram "nl_store_pointer"(nl_histogram **field, nl_histogram *value) noexcept nogil
    bint nl_claim(unsigned long *field, unsigned long thread) noexcept

    unsigned nl_glance(const void *field) noexcept
    uint64_t nl_glance64(const void *field) noexcept

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() noexcept
