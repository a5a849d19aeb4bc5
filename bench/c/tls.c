#define _GNU_SOURCE
#include "tls.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>

#include "fail.h"

/* Of OpenSSL's public interface: SSL_get_error(3), SSL_CTX_set_mode(3), SSL_ERROR_* and SSL_MODE_* in ssl.h. */
#define ERROR_WANT_READ 2
#define ERROR_WANT_WRITE 3
#define ERROR_ZERO_RETURN 6
#define CTRL_MODE 33
#define MODE_ENABLE_PARTIAL_WRITE 1L
#define MODE_ACCEPT_MOVING_WRITE_BUFFER 2L

static struct {
    void *context;
    void *(*client_method)(void);
    void *(*context_new)(const void *method);
    long (*context_control)(void *context, int command, long argument, void *pointer);
    struct tls *(*session_new)(void *context);
    int (*set_descriptor)(struct tls *session, int fd);
    int (*shake_hands)(struct tls *session);
    int (*read)(struct tls *session, void *bytes, int length);
    int (*write)(struct tls *session, const void *bytes, int length);
    int (*error_of)(const struct tls *session, int result);
    void (*session_free)(struct tls *session);
    void (*clear_errors)(void);
} library;

static void find(void *handle, const char *name, void *function)
{
    /* ISO C has no conversion from an object's to a function's address; POSIX promises that this one works. */
    *(void **)function = dlsym(handle, name);
    if (*(void **)function == NULL)
        fail(0, "libssl has no %s", name);
}

static void load_library(void)
{
    void *handle = dlopen("libssl.so.3", RTLD_NOW);
    if (handle == NULL)
        handle = dlopen("libssl.so.1.1", RTLD_NOW);
    if (handle == NULL)
        fail(0, "TLS needs the system's OpenSSL library: %s", dlerror());
    find(handle, "TLS_client_method", &library.client_method);
    find(handle, "SSL_CTX_new", &library.context_new);
    find(handle, "SSL_CTX_ctrl", &library.context_control);
    find(handle, "SSL_new", &library.session_new);
    find(handle, "SSL_set_fd", &library.set_descriptor);
    find(handle, "SSL_connect", &library.shake_hands);
    find(handle, "SSL_read", &library.read);
    find(handle, "SSL_write", &library.write);
    find(handle, "SSL_get_error", &library.error_of);
    find(handle, "SSL_free", &library.session_free);
    find(handle, "ERR_clear_error", &library.clear_errors);
    library.context = library.context_new(library.client_method());
    if (library.context == NULL)
        fail(0, "libssl cannot make a context");
    library.context_control(library.context, CTRL_MODE, MODE_ENABLE_PARTIAL_WRITE | MODE_ACCEPT_MOVING_WRITE_BUFFER,
                            NULL);
}

struct tls *tls_open(int fd, const char **why)
{
    if (library.context == NULL)
        load_library();
    struct tls *tls = library.session_new(library.context);
    if (tls == NULL)
        fail(ENOMEM, "cannot make a TLS session");
    library.clear_errors();
    if (library.set_descriptor(tls, fd) != 1 || library.shake_hands(tls) != 1) {
        *why = "the TLS handshake failed";
        library.session_free(tls);
        return NULL;
    }
    return tls;
}

static ssize_t result_of(struct tls *tls, int result)
{
    if (result > 0)
        return result;
    int kind = library.error_of(tls, result);
    if (kind == ERROR_ZERO_RETURN)
        return 0;
    errno = kind == ERROR_WANT_READ || kind == ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
    return -1;
}

ssize_t tls_send(struct tls *tls, const char *bytes, size_t length)
{
    library.clear_errors();
    return result_of(tls, library.write(tls, bytes, length > INT_MAX ? INT_MAX : (int)length));
}

ssize_t tls_receive(struct tls *tls, char *bytes, size_t length)
{
    library.clear_errors();
    return result_of(tls, library.read(tls, bytes, length > INT_MAX ? INT_MAX : (int)length));
}

void tls_close(struct tls *tls)
{
    library.session_free(tls);
}
