/* Makes the program of freeze-core the interpreter that is inside it.
 *
 * That program runs an application that was frozen into it. Preloaded, this library stands in for the function of the
 * C library that calls main(), and has it call the interpreter's own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

typedef int program(int, char **, char **);
typedef int start(program *, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

int __libc_start_main(program *main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end);

static int run_python(int argc, char **argv, char **environment)
{
    int (*python)(int, char **) = (int (*)(int, char **))dlsym(RTLD_DEFAULT, "Py_BytesMain");

    (void)environment;
    return python == NULL ? 127 : python(argc, argv);
}

int __libc_start_main(program *main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end)
{
    start *real = (start *)dlsym(RTLD_NEXT, "__libc_start_main");

    (void)main;
    return real(run_python, argc, argv, init, fini, rtld_fini, stack_end);
}
